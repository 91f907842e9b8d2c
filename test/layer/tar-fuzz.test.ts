import t, { type Test } from 'tap';
import type { Digest } from '../../src/digest.js';
import { isThinError } from '../../src/errors.js';
import type { LayerEntry } from '../../src/image/layer-entry.js';
import type { TarEvent } from '../../src/layer/tar-event.js';
import { TarParser } from '../../src/layer/tar-parser.js';
import { mergeLayers } from '../../src/metadata/merge.js';
import { checkTree } from '../metadata/merge-invariants.js';
import fc from '../support/properties.js';
import { bytes } from '../support/tar-builder.js';
import { entryTaker } from './read-records.js';
import { tortureLayers } from './torture-layers.js';

/** Small archives with everything in them that there is. */
const seeds = tortureLayers()
  .filter(({ rule }) => rule !== 'L28')
  .flatMap(({ layers }) => layers)
  .filter((layer) => layer.length > 0 && layer.length < 40_000);

const zero = ['00000000000'.slice(0, 7), '0'].join('\0');
/** Places in a header, and what may be written there. */
const fields: readonly (readonly [at: number, values: readonly string[]])[] = [
  [0, ['..', '/', '', './', 'a/../b', '.wh.', '.wh.x', '.wh..wh..opq', 'd/', '\xff\xfe']],
  [100, ['7777777\0', zero, '\xff\xff\xff\xff\xff\xff\xff\xff', '-1']],
  [108, ['\x80\0\0\0\xff\xff\xff\xff', '\xff\xff\xff\xff\xff\xff\xff\xff', '9']],
  [124, ['77777777777\0', '00000000001\0', '\x80\0\0\0\0\x20\0\0\0\0\0\0', '\xff\xff', '\0\0\0']],
  [136, ['\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff', '\x80\x7f\xff', '77777777777 ']],
  [156, ['\0', ...'01234567xgXLKSDVAEIMNQ']],
  [157, ['..', '/', '', 'a', '../../etc/passwd', 'x'.repeat(100)]],
  [257, ['ustar\x0000', 'ustar  \0', '\0\0\0\0\0\0\0\0']],
  [329, ['7777777\0', '\x80\0\0\0\0\0\x10\0']],
  [345, ['a/b', '\xff', '00000000000 00000000000 ']],
  [386, ['00000000000\x0077777777777\0', '\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff']],
  [482, ['\x01', '\0']],
  [483, ['77777777777\0', '\x80\0\0\0\x01\0\0\0\0\0\0\0']],
  [508, ['tar\0']],
];

type Mutation = (layer: Buffer) => Buffer;

/** A header is edited with its checksum made right again: the edits behind it are what matters. */
const editField: fc.Arbitrary<Mutation> = fc
  .record({ block: fc.nat(40), field: fc.nat(fields.length - 1), value: fc.nat(30) })
  .map(({ block, field, value }) => (layer) => {
    const copy = Buffer.from(layer);
    const start = (block * 512) % Math.max(layer.length, 512);
    if (start + 512 > copy.length) return copy;
    const [at, values] = fields[field] ?? [0, ['']];
    copy.write(values[value % values.length] ?? '', start + at, 'latin1');
    fixChecksum(copy.subarray(start, start + 512));
    return copy;
  });

function fixChecksum(block: Buffer): void {
  block.write('        ', 148, 'latin1');
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
}

const flipBit: fc.Arbitrary<Mutation> = fc
  .record({ at: fc.nat(), bit: fc.nat(7), fix: fc.boolean() })
  .map(({ at, bit, fix }) => (layer) => {
    const copy = Buffer.from(layer);
    const place = at % copy.length;
    copy[place] = (copy[place] ?? 0) ^ (1 << bit);
    const start = place - (place % 512);
    if (fix && start + 512 <= copy.length) fixChecksum(copy.subarray(start, start + 512));
    return copy;
  });

const cutOff: fc.Arbitrary<Mutation> = fc
  .nat()
  .map((length) => (layer) => layer.subarray(0, length % (layer.length + 1)));

/** Blocks taken out, repeated, or put in from another archive. */
const splice: fc.Arbitrary<Mutation> = fc
  .record({ at: fc.nat(60), taken: fc.nat(3), from: fc.nat(seeds.length - 1), put: fc.nat(6) })
  .map(({ at, taken, from, put }) => (layer) => {
    const place = (at * 512) % layer.length;
    const other = (seeds[from] ?? layer).subarray(0, put * 512);
    return Buffer.concat([layer.subarray(0, place), other, layer.subarray(place + taken * 512)]);
  });

const mutated = fc
  .record({
    seed: fc.constantFrom(...seeds),
    mutations: fc.array(fc.oneof(editField, flipBit, cutOff, splice), { maxLength: 5 }),
  })
  .map(({ seed, mutations }) =>
    mutations.reduce((layer, mutate) => (layer.length > 0 ? mutate(layer) : layer), seed),
  );

const randomBlocks = fc
  .array(fc.uint8Array({ minLength: 512, maxLength: 512 }), { maxLength: 4 })
  .map((blocks) => {
    const copies = blocks.map((block) => Buffer.from(block));
    for (const copy of copies) fixChecksum(copy);
    return Buffer.concat(copies);
  });
const randomBytes = fc.uint8Array({ maxLength: 3000 }).map((content) => Buffer.from(content));
const paxBodies = fc
  .array(
    fc.constantFrom('9 ', '12 ', 'path=', 'size=', '7\n', '\n', '\0', 'GNU.sparse.', '=', 'x'),
    {
      maxLength: 12,
    },
  )
  .map((parts) => bytes(parts.join('')));

/** All events of a layer cut into pieces, with what followed if it was an error. */
function parse(layer: Buffer, cuts: readonly number[]): { events: TarEvent[]; error: unknown } {
  const parser = new TarParser({ holeBytesMax: 2 ** 24, entriesMax: 10_000 });
  const events: TarEvent[] = [];
  const ends = [...cuts.map((cut) => cut % (layer.length + 1)), layer.length].sort((a, b) => a - b);
  try {
    let start = 0;
    for (const end of ends) {
      events.push(...parser.push(layer.subarray(start, end)));
      start = end;
    }
    events.push(...parser.end());
    return { events, error: undefined };
  } catch (error) {
    return { events, error };
  }
}

/** Data in one piece, so that cuts are not seen; what an error cut short is left out. */
function joined(events: readonly TarEvent[]): unknown[] {
  const entries: unknown[] = [];
  let content: Buffer[] = [];
  for (const event of events) {
    if (event.type === 'data') content.push(event.bytes);
    else {
      if (content.length > 0) entries.push(Buffer.concat(content).toString('latin1'));
      content = [];
      entries.push(
        event.type === 'entry' ? { ...event.entry, xattrs: [...event.entry.xattrs] } : event,
      );
    }
  }
  return entries;
}

function checkParse(layer: Buffer): TarEvent[] {
  const { events, error } = parse(layer, []);
  if (error !== undefined && !isThinError(error, 'corrupt')) throw error;
  return error === undefined ? events : [];
}

function checkMerge(events: readonly TarEvent[]): void {
  const entries: LayerEntry[] = [];
  const take = entryTaker(entries, new Map<Digest, Buffer>());
  for (const event of events) take(event);
  const diffId = `sha256:${'0'.repeat(64)}` as Digest;
  try {
    checkTree(
      mergeLayers([
        { diffId, entries },
        { diffId, entries },
      ]),
    );
  } catch (error) {
    if (!isThinError(error, 'corrupt')) throw error;
  }
}

function property(t: Test, name: string, layers: fc.Arbitrary<Buffer>, numRuns: number): void {
  t.test(name, async () => {
    fc.assert(
      fc.property(layers, (layer) => checkMerge(checkParse(layer))),
      { numRuns },
    );
  });
}

property(t, 'random bytes are read or refused', randomBytes, 500);
property(t, 'random blocks with right checksums are read or refused', randomBlocks, 500);
property(t, 'damaged archives are read or refused, and merged or refused', mutated, 4000);
property(
  t,
  'odd PAX bodies are read or refused',
  fc.tuple(paxBodies, fc.constantFrom(...'xgLK')).map(([body, type]) => {
    const block = Buffer.alloc(1024);
    block.write('p', 0, 'latin1');
    block.write(`${body.length.toString(8).padStart(11, '0')}\0`, 124, 'latin1');
    block.write(type, 156, 'latin1');
    fixChecksum(block.subarray(0, 512));
    body.copy(block, 512);
    return Buffer.concat([block, seeds[0] ?? block]);
  }),
  1500,
);

t.test('however an archive is cut into pieces, the events are the same', async (t) => {
  const cuts = fc.array(fc.nat(), { maxLength: 12 });
  fc.assert(
    fc.property(mutated, cuts, (layer, at) => {
      const whole = parse(layer, []);
      const pieces = parse(layer, at);
      if (whole.error === undefined || pieces.error === undefined) {
        t.equal(whole.error, pieces.error);
        if (JSON.stringify(joined(whole.events)) === JSON.stringify(joined(pieces.events))) return;
        t.strictSame(joined(whole.events), joined(pieces.events));
        throw new Error('events differ');
      }
      if (!isThinError(pieces.error, 'corrupt')) throw pieces.error;
    }),
    { numRuns: 1500 },
  );
});
