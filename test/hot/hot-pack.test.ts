import { randomBytes } from 'node:crypto';
import t from 'tap';
import type { Chunk } from '../../src/chunk/frame.js';
import { digestOf } from '../../src/digest.js';
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
      { chunksOf: () => chunks },
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
