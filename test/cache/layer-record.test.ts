import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { ByteString } from '../../src/byte-string.js';
import { LayerRecordFile } from '../../src/cache/layer-record.js';
import { headerSize } from '../../src/cache/layer-record-format.js';
import { LayerRecordWriter } from '../../src/cache/layer-record-writer.js';
import { digestOf } from '../../src/digest.js';
import type { LayerEntry } from '../../src/image/layer-entry.js';
import type { LayerSummary } from '../../src/layer/read-layer.js';
import { scratchDirectory } from '../cache/cache-rig.js';
import { layerEntry } from '../layer/arbitrary-entry.js';
import fc from '../support/properties.js';

const summary: LayerSummary = {
  digest: digestOf(Buffer.from('blob')),
  diffId: digestOf(Buffer.from('tar')),
  compressedBytes: 2 ** 40,
  plainBytes: 2 ** 41,
};

let count = 0;

function write(folder: string, entries: Iterable<LayerEntry>): string {
  const path = join(folder, `${++count}`);
  using writer = new LayerRecordWriter(`${path}.draft`);
  for (const entry of entries) writer.add(entry);
  writer.finish(path, summary);
  return path;
}

t.test('what is read is what was written', async (t: Test) => {
  const folder = scratchDirectory(t);
  fc.assert(
    fc.property(fc.array(layerEntry, { maxLength: 30 }), (entries) => {
      const record = LayerRecordFile.open(write(folder, entries));
      t.strictSame(record.summary, summary);
      t.strictSame([...record.entries], entries);
      t.strictSame([...record.entries], entries, 'as often as one likes');
    }),
    { numRuns: 60 },
  );
});

t.test('entries of more bytes than a block; whiteouts are told of', (t) => {
  const folder = scratchDirectory(t);
  const value = randomBytes(700_000);
  const [entry] = fc.sample(layerEntry, { seed: 3, numRuns: 1 });
  if (entry === undefined) throw new Error('no sample');
  const large = { ...entry, xattrs: new Map([['user.large' as ByteString, value]]) };
  const entries = [large, { ...entry, path: 'a/b' as ByteString }, large];
  const record = LayerRecordFile.open(write(folder, entries));
  t.strictSame([...record.entries], entries);
  t.notOk(record.mayHaveWhiteouts);
  const whiteout = { ...entry, path: 'a/.wh.b' as ByteString };
  t.ok(LayerRecordFile.open(write(folder, [...entries, whiteout])).mayHaveWhiteouts);
  t.end();
});

t.test('what lies about its blocks is refused, whatever its checksum says', (t) => {
  const path = write(scratchDirectory(t), fc.sample(layerEntry, { seed: 2, numRuns: 20 }));
  const bytes = readFileSync(path);
  const lies: [at: number, value: number][] = [
    [headerSize, 0],
    [headerSize, 262_145],
    [headerSize, 0xffff_ffff],
    [headerSize + 4, 0],
    [headerSize + 4, 0xffff_ffff],
    [headerSize + 8, 0],
  ];
  for (const [at, value] of lies) {
    const lying = Buffer.from(bytes);
    lying.writeUInt32LE(value, at);
    createHash('sha256')
      .update(lying.subarray(0, -32))
      .digest()
      .copy(lying, lying.length - 32);
    writeFileSync(path, lying);
    const record = LayerRecordFile.open(path);
    t.throws(() => [...record.entries], { code: 'corrupt' }, `${value} at ${at}`);
    t.throws(() => [...record.paths], { code: 'corrupt' });
  }
  t.end();
});

t.test('a damaged record is refused', async (t) => {
  const [sample] = fc.sample(fc.array(layerEntry, { minLength: 3, maxLength: 3 }), {
    seed: 1,
    numRuns: 1,
  });
  const path = write(scratchDirectory(t), sample ?? []);
  const bytes = readFileSync(path);
  const isRefused = (changed: Buffer) => {
    writeFileSync(path, changed);
    t.throws(() => LayerRecordFile.open(path), { code: 'corrupt' });
  };
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
      const damaged = Buffer.from(bytes);
      damaged.writeUInt8(damaged.readUInt8(at) ^ change, at);
      isRefused(damaged);
    }),
    { numRuns: 100 },
  );
  for (const length of [0, 8, 15, bytes.length - 1]) {
    isRefused(bytes.subarray(0, length));
  }
});
