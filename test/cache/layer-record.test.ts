import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import type { ByteString } from '../../src/byte-string.js';
import { LayerRecordFile } from '../../src/cache/layer-record.js';
import { LayerRecordWriter } from '../../src/cache/layer-record-writer.js';
import { type Digest, digestOf } from '../../src/digest.js';
import type { LayerEntry } from '../../src/image/layer-entry.js';
import type { LayerSummary } from '../../src/layer/read-layer.js';
import { scratchDirectory } from '../cache/cache-rig.js';

const summary: LayerSummary = {
  digest: digestOf(Buffer.from('blob')),
  diffId: digestOf(Buffer.from('tar')),
  compressedBytes: 2 ** 40,
  plainBytes: 2 ** 41,
};

let count = 0;

function write(folder: string, entries: Iterable<LayerEntry>): Buffer {
  const path = join(folder, `${++count}`);
  using writer = new LayerRecordWriter(`${path}.draft`);
  for (const entry of entries) writer.add(entry);
  writer.finish(path, summary);
  return readFileSync(path);
}

const plain = { noNullPrototype: true };

const name = (max: number) =>
  fc
    .uint8Array({ minLength: 1, maxLength: max })
    .map((bytes) => Buffer.from(bytes).toString('latin1') as ByteString);
const attributes = {
  path: name(4096),
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.integer({ min: 0, max: 2 ** 32 - 2 }),
  gid: fc.integer({ min: 0, max: 2 ** 32 - 2 }),
  mtime: fc.record(
    {
      seconds: fc.maxSafeInteger(),
      nanoseconds: fc.integer({ min: 0, max: 999_999_999 }),
    },
    plain,
  ),
  xattrs: fc
    .array(fc.tuple(name(200), fc.uint8Array({ maxLength: 70_000 })), { maxLength: 4 })
    .map((pairs) => new Map(pairs.map(([key, value]) => [key, Buffer.from(value)] as const))),
};
const number32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const entry: fc.Arbitrary<LayerEntry> = fc.oneof(
  fc.record(
    {
      ...attributes,
      type: fc.constant('file' as const),
      size: fc.maxSafeNat(),
      content: fc.uint8Array().map((bytes): Digest => digestOf(bytes)),
    },
    plain,
  ),
  fc.record({ ...attributes, type: fc.constantFrom('directory' as const, 'fifo' as const) }, plain),
  fc.record(
    {
      ...attributes,
      type: fc.constantFrom('symlink' as const, 'hardlink' as const),
      target: name(4095),
    },
    plain,
  ),
  fc.record(
    {
      ...attributes,
      type: fc.constantFrom('character' as const, 'block' as const),
      device: fc.record({ major: number32, minor: number32 }, plain),
    },
    plain,
  ),
);

t.test('what is read is what was written', async (t: Test) => {
  const folder = scratchDirectory(t);
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 30 }), (entries) => {
      const record = new LayerRecordFile(write(folder, entries));
      t.strictSame(record.summary, summary);
      t.strictSame([...record.entries], entries);
      t.strictSame([...record.entries], entries, 'as often as one likes');
    }),
    { numRuns: 60 },
  );
});

t.test('a damaged record is refused', async (t) => {
  const [sample] = fc.sample(fc.array(entry, { minLength: 3, maxLength: 3 }), {
    seed: 1,
    numRuns: 1,
  });
  const bytes = write(scratchDirectory(t), sample ?? []);
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
      const damaged = Buffer.from(bytes);
      damaged.writeUInt8(damaged.readUInt8(at) ^ change, at);
      t.throws(() => new LayerRecordFile(damaged), { code: 'corrupt' });
    }),
    { numRuns: 100 },
  );
  for (const length of [0, 8, 15, bytes.length - 1]) {
    t.throws(() => new LayerRecordFile(bytes.subarray(0, length)), { code: 'corrupt' });
  }
});
