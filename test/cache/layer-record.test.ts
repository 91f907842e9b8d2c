import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { LayerRecordFile } from '../../src/cache/layer-record.js';
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
