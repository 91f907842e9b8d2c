import { execFileSync } from 'node:child_process';
import { gzipSync } from 'node:zlib';
import t from 'tap';
import { readLayer } from '../../src/layer/read-layer.js';
import { pseudoRandomBytes } from '../native-bindings/pseudo-random.js';
import { endOfArchive, entry } from '../support/tar-builder.js';
import { sourceOf } from './read-records.js';

/** A megabyte and a bit each: no file begins where a buffer does. */
const files = Array.from({ length: 9 }, (_, i) => pseudoRandomBytes(1_100_000 + i, i));
const archive = Buffer.concat([
  ...files.map((data, i) => entry({ name: `${i}` }, data)),
  endOfArchive,
]);
const layers = {
  gzip: gzipSync(archive, { level: 1 }),
  zstd: execFileSync('zstd', ['-q', '-1', '-c'], { input: archive, maxBuffer: 2 * archive.length }),
};

for (const [codec, layer] of Object.entries(layers)) {
  t.test(`${codec}: what is copied before more is asked for is right`, async (t) => {
    const pieces = [layer.subarray(0, 700_000), layer.subarray(700_000)];
    const { signal } = new AbortController();
    const found: Buffer[] = [];
    const memory = new Set<ArrayBufferLike>();
    for await (const events of readLayer(sourceOf(pieces), { signal, reuseBuffers: true })) {
      for (const event of events) {
        if (event.type === 'entry') found.push(Buffer.alloc(0));
        if (event.type !== 'data') continue;
        memory.add(event.bytes.buffer);
        found.push(Buffer.concat([found.pop() ?? Buffer.alloc(0), event.bytes]));
      }
    }
    t.ok(found.length === files.length && found.every((data, i) => files[i]?.equals(data)));
    t.equal(memory.size, 3, 'three buffers for ten megabytes');
  });
}
