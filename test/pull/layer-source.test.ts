import { createHash, randomBytes } from 'node:crypto';
import t from 'tap';
import { layerBytes } from '../../src/pull/layer-source.js';
import { PartialBlob } from '../../src/pull/partial-blob.js';
import { scratchDirectory, signal } from '../cache/cache-rig.js';
import { gzipLayer } from './pull-rig.js';

const mebibyte = 1024 * 1024;

t.test('a layer over several connections is cut at whole MiB, from wherever', async (t) => {
  const blob = randomBytes(20 * mebibyte + 77);
  await using partial = await PartialBlob.open(scratchDirectory(t), 'layer');
  await partial.append(blob.subarray(0, 1_234_567));
  await partial.settled();
  const asked: { readonly offset: number; readonly length: number }[] = [];
  const layer = {
    descriptor: { mediaType: gzipLayer, digest: '', size: blob.length },
    diffId: '',
    open: async function* (_signal: AbortSignal, range: (typeof asked)[number]) {
      asked.push(range);
      yield blob.subarray(range.offset, range.offset + range.length);
    },
  };
  const source = { layer, partial, connections: () => 3, onDownloaded: () => undefined, signal };
  const hash = createHash('sha256');
  for await (const bytes of layerBytes(source)) hash.update(bytes);
  t.equal(hash.digest('hex'), createHash('sha256').update(blob).digest('hex'));
  const [first, ...others] = asked;
  t.equal(first?.offset, 1_234_567, 'what is here is not asked for');
  t.ok(others.length > 4, `${others.length} more requests`);
  t.same(new Set(others.map(({ offset }) => offset % mebibyte)), new Set([0]));
  const bytes = asked.reduce((sum, { length }) => sum + length, 0);
  t.equal(bytes, blob.length - 1_234_567, 'each byte once');
});
