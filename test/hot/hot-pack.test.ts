import { randomBytes } from 'node:crypto';
import t from 'tap';
import type { Chunk } from '../../src/chunk/frame.js';
import { digestOf } from '../../src/digest.js';
import { DeltaPack } from '../../src/hot/delta-pack.js';
import { makeHotPack } from '../../src/hot/hot-pack.js';

t.test(
  'chunks of different packs are in different frames, in the order of their first touch',
  async (t) => {
    const plain = [0, 1, 2, 3, 4].map(() => randomBytes(1000));
    const packs = ['of the old image', 'of the update'].map((name) => digestOf(Buffer.from(name)));
    const chunks = plain.map((bytes, at): Chunk => {
      const pack = packs[at % 2] ?? digestOf(bytes);
      const frame = { pack, offset: at * 1000, length: 1000, plainLength: 1000, codec: 'stored' };
      return {
        digest: digestOf(bytes),
        length: 1000,
        frame: { ...frame, codec: 'stored' },
        offsetInFrame: 0,
      };
    });
    const file = { content: digestOf(Buffer.concat(plain)), size: 5000 };
    const { bytes, frames } = await makeHotPack(
      { chunksOf: () => chunks, find: () => undefined },
      [{ ...file, offset: 0, length: 5000 }],
      async ({ offset }) => plain[offset / 1000] ?? Buffer.alloc(0),
      new AbortController().signal,
    );
    const digests = frames.map((frame) => frame.chunks.map(({ digest }) => digest));
    const of = (...places: number[]) => places.map((at) => chunks[at]?.digest);
    t.same(digests, [of(0, 2, 4), of(1, 3)]);
    t.same(bytes, Buffer.concat([0, 2, 4, 1, 3].map((at) => plain[at] ?? Buffer.alloc(0))));
  },
);

const pack = digestOf(Buffer.from('a pack'));
const plain = Array.from({ length: 8 }, () => randomBytes(1000));
const chunks = plain.map((bytes, at): Chunk => {
  const place = { pack, offset: at * 1000, length: 1000, plainLength: 1000 };
  const frame = { ...place, codec: 'stored' } as const;
  return { digest: digestOf(bytes), length: 1000, frame, offsetInFrame: 0 };
});

/** Numbers of the chunks in the hot pack of a start that touched some; one of an earlier version had others. */
async function packed(touched: readonly number[], earlier: readonly Buffer[]): Promise<number[]> {
  const content = digestOf(Buffer.concat(plain));
  const known = earlier.map((bytes) => ({ digest: digestOf(bytes), bytes }));
  const { frames } = await makeHotPack(
    {
      chunksOf: () => chunks,
      find: (digest) => chunks.find((chunk) => chunk.digest === digest),
    },
    touched.map((at) => ({ content, size: 8000, offset: at * 1000, length: 1000 })),
    async ({ offset }) => plain[offset / 1000] ?? Buffer.alloc(0),
    new AbortController().signal,
    new DeltaPack(known),
  );
  const digests = frames.flatMap((frame) => frame.chunks.map(({ digest }) => digest));
  return digests.map((digest) => chunks.findIndex((chunk) => chunk.digest === digest));
}

t.test('what an earlier version read of the disk unseen is for empty nodes too', async (t) => {
  const earlier = [randomBytes(1000), ...plain.slice(0, 6)];
  t.same(await packed([7, 2], earlier), [7, 2, 0, 1, 3, 4, 5]);
});

t.test('a start that was seen on an empty node is believed', async (t) => {
  t.same(await packed([7, 2, 1, 0], plain.slice(0, 6)), [7, 2, 1, 0]);
});
