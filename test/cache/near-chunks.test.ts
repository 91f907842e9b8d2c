import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import t from 'tap';
import type { WantedChunk } from '../../src/cache/near-chunks.js';
import { digestOf } from '../../src/digest.js';
import { openCache, scratchDirectory, signal, until } from './cache-rig.js';
import { MemoryOrigin } from './memory-origin.js';

const chunkBytes = 1000;
const wanted = (bytes: Buffer): WantedChunk => ({ digest: digestOf(bytes), length: bytes.length });

t.test(
  'chunks are found in files that are whole, are being filled, or are one chunk',
  async (t) => {
    const [small, large, half] = [randomBytes(500), randomBytes(3000), randomBytes(3000)];
    const origin = new MemoryOrigin('1', [small, large, half], chunkBytes, chunkBytes);
    const cache = await openCache(t, join(scratchDirectory(t), 'root'));
    const near = cache.nearChunks;
    const second = (bytes: Buffer) => bytes.subarray(chunkBytes, 2 * chunkBytes);
    const [a, b, c, d] = [small, second(large), half.subarray(0, chunkBytes), second(half)].map(
      wanted,
    );
    if (!a || !b || !c || !d) throw new Error('there are four');
    t.equal((await near.find([a, b, c, d])).size, 0, 'nothing is here');
    for (const file of origin.refs()) {
      const length = origin.bytesOf(file) === half ? chunkBytes : file.size;
      await cache.read(file, 0, length, origin, signal);
    }
    await until(async () => {
      const { completeFiles, partialFiles } = await cache.usage();
      return completeFiles === 2 && partialFiles === 1;
    });
    const found = await near.find([a, b, c, d]);
    t.same(new Set(found.keys()), new Set([a, b, c].map(({ digest }) => digest)));
    const read = async ({ digest, length }: WantedChunk) => {
      const place = found.get(digest);
      return place && (await near.readUnverified(place, length));
    };
    for (const chunk of [a, b, c])
      t.equal(digestOf((await read(chunk)) ?? Buffer.alloc(0)), chunk.digest);

    const gone = new MemoryOrigin('2', [randomBytes(500)], chunkBytes, chunkBytes);
    const [file] = gone.refs();
    if (!file) throw new Error('there is one');
    const place = { ...file, partial: undefined, offset: 0 };
    t.equal(await near.readUnverified(place, file.size), undefined, 'gone');
  },
);

t.test('where none of the first is here, the others are not looked for', async (t) => {
  const bytes = randomBytes(500);
  const origin = new MemoryOrigin('1', [bytes], chunkBytes, chunkBytes);
  const cache = await openCache(t, join(scratchDirectory(t), 'root'));
  const [file] = origin.refs();
  if (!file) throw new Error('there is one');
  await cache.read(file, 0, file.size, origin, signal);
  await until(async () => (await cache.usage()).completeFiles === 1);
  const others = Array.from({ length: 40 }, () => wanted(randomBytes(10)));
  t.equal((await cache.nearChunks.find([...others, wanted(bytes)])).size, 0);
  t.equal((await cache.nearChunks.find([wanted(bytes), ...others])).size, 1);
});
