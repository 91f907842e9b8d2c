import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import { EntriesWriter, LayerEntries } from '../../converter/layer-entries.js';
import { mount, unmount, unmountFlags } from '../../native-bindings/mount-calls.js';
import type { ByteString } from '../../src/byte-string.js';
import { digestOf } from '../../src/digest.js';
import { isThinError } from '../../src/errors.js';
import type { LayerEntry } from '../../src/image/layer-entry.js';
import { EntryDecoder, encodeEntry, entrySize } from '../../src/layer/entry-codec.js';
import { testFolder } from './thinify-runs.js';

const text = fc.uint8Array({ maxLength: 300 }).map((bytes) => {
  return Buffer.from(bytes).toString('latin1') as ByteString;
});
const number32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
/** With the prototype that literals have. */
const plain = { noNullPrototype: true };
const attributes = {
  path: text,
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: number32,
  gid: number32,
  mtime: fc.record(
    {
      seconds: fc.oneof(fc.maxSafeInteger(), fc.constant(1_700_000_000)),
      nanoseconds: fc.integer({ min: 0, max: 999_999_999 }),
    },
    plain,
  ),
  xattrs: fc
    .array(fc.tuple(text, fc.uint8Array({ maxLength: 50 }).map(Buffer.from)), { maxLength: 3 })
    .map((pairs) => new Map(pairs)),
};
const entry: fc.Arbitrary<LayerEntry> = fc.oneof(
  fc.record({ ...attributes, type: fc.constantFrom('directory', 'fifo') }, plain),
  fc.record(
    {
      ...attributes,
      type: fc.constant('file' as const),
      size: fc.maxSafeNat(),
      content: text.map((content) => digestOf(Buffer.from(content))),
    },
    plain,
  ),
  fc.record({ ...attributes, type: fc.constantFrom('symlink', 'hardlink'), target: text }, plain),
  fc.record(
    {
      ...attributes,
      type: fc.constantFrom('character', 'block'),
      device: fc.record({ major: number32, minor: number32 }, plain),
    },
    plain,
  ),
);

function encoded(one: LayerEntry): Buffer {
  const bytes = Buffer.alloc(entrySize(one));
  encodeEntry(one, bytes, 0);
  return bytes;
}

t.test('every entry comes back, and takes the bytes that it said', async (t) => {
  const decoder = new EntryDecoder();
  fc.assert(
    fc.property(entry, (one) => {
      const bytes = Buffer.alloc(entrySize(one) + 20);
      if (encodeEntry(one, bytes, 10) !== bytes.length - 10) throw new Error('another size');
      const { length } = encoded(one);
      if (EntryDecoder.lengthAt(bytes, 10) !== length) throw new Error('another length');
      return isDeepStrictEqual(decoder.decode(bytes.subarray(10, -10)), one);
    }),
    { numRuns: 300 },
  );
  t.pass();
});

t.test('damaged bytes are an entry or corrupt, nothing else', async (t) => {
  const decoder = new EntryDecoder();
  const damage = fc.tuple(entry, fc.nat(), fc.nat({ max: 255 }), fc.boolean());
  fc.assert(
    fc.property(damage, ([one, at, value, cut]) => {
      const bytes = encoded(one);
      const place = at % bytes.length;
      bytes[place] = value;
      try {
        decoder.decode(cut ? bytes.subarray(0, place) : bytes);
      } catch (error) {
        if (!isThinError(error, 'corrupt')) throw error;
      }
    }),
    { numRuns: 2000 },
  );
  t.pass();
});

function fileOf(size: number, name: string): LayerEntry {
  const mtime = { seconds: 1, nanoseconds: 2 };
  const value = Buffer.alloc(size, 1);
  const xattrs = new Map([['user.large' as ByteString, value]]);
  const path = name as ByteString;
  return { path, type: 'fifo', mode: 0o644, uid: 0, gid: 0, mtime, xattrs };
}

t.test('a file of many pieces is read any number of times', async (t) => {
  const folder = testFolder(t);
  const entries = Array.from({ length: 3000 }, (_, i) => fileOf(i % 700, `entry ${i}`));
  entries.splice(1000, 0, fileOf(700_000, 'larger than a piece'));
  using writer = EntriesWriter.create(join(folder, 'entries'));
  for (const one of entries) writer.add(one);
  const written = writer.finish();
  t.strictSame([...written], entries);
  t.strictSame([...written], entries, 'and again');

  using copier = EntriesWriter.create(join(folder, 'copy'));
  for (const piece of written.pieces()) copier.addBytes(piece);
  copier.finish();
  t.ok(readFileSync(join(folder, 'copy')).equals(readFileSync(join(folder, 'entries'))));
});

t.test('a file that ends too early is corrupt, a missing one is told', async (t) => {
  const path = join(testFolder(t), 'entries');
  t.throws(() => [...new LayerEntries(path)], { code: 'not-found' });
  writeFileSync(path, Buffer.concat([encoded(fileOf(10, 'a')), encoded(fileOf(10, 'b'))]));
  t.equal([...new LayerEntries(path)].length, 2);
  truncateSync(path, encoded(fileOf(10, 'a')).length + 2);
  t.throws(() => [...new LayerEntries(path)], { code: 'corrupt' });
});

t.test('a full disk is no-space, from then on', async (t) => {
  const target = testFolder(t);
  await mount({ source: 'thinfs-test', target, type: 'tmpfs', data: 'size=64k' });
  t.teardown(() => unmount(target, unmountFlags.detach));
  using writer = EntriesWriter.create(join(target, 'entries'));
  const large = fileOf(300_000, 'larger than a piece');
  writer.add(large);
  t.throws(() => writer.add(large), { code: 'no-space' });
  t.throws(() => writer.finish(), { code: 'no-space' });
});
