import { randomBytes } from 'node:crypto';
import t from 'tap';
import { zstdDecompressDelta } from '../../native-bindings/zstd.js';
import { compressFrame } from '../../src/chunk/codec.js';
import { digestOf } from '../../src/digest.js';
import { ThinError } from '../../src/errors.js';
import { DeltaPack, readHotChunks } from '../../src/hot/delta-pack.js';
import { SimilarChunks } from '../../src/hot/similar-chunks.js';
import { deltaBasesMax } from '../../src/thin/hot-delta.js';
import type { HotCommand } from '../../src/thin/hot-index.js';

const { signal } = new AbortController();
const known = (bytes: Buffer) => ({ digest: digestOf(bytes), bytes });

/** With other bytes every 400, and three more at the start: as a program that was built again. */
function rebuilt(bytes: Buffer): Buffer {
  const changed = Buffer.concat([Buffer.from('new'), bytes]);
  for (let at = 0; at < changed.length; at += 400) changed[at] = (changed[at] ?? 0) + 1;
  return changed;
}

t.test('chunks that have much in common are found, wherever it is, the nearest last', async (t) => {
  const chunks = Array.from({ length: 20 }, () => known(randomBytes(20_000)));
  const similar = new SimilarChunks(chunks);
  const [a, b, c] = [chunks[3], chunks[7], chunks[11]];
  if (!a || !b || !c) throw new Error('there are twenty');
  const bytes = rebuilt(Buffer.concat([a.bytes.subarray(5000), b.bytes, c.bytes.subarray(10_000)]));
  t.same(similar.nearest(bytes, 1e6), [c, a, b]);
  t.same(similar.nearest(bytes, 45_000), [a, b], 'of so many bytes at most');
  t.same(similar.nearest(randomBytes(20_000), 1e6), []);
});

t.test('frames are told from what is known, where it is worth it', async (t) => {
  const old = [randomBytes(60_000), randomBytes(60_000)].map(known);
  const [first, second] = old;
  if (!first || !second) throw new Error('there are two');
  const delta = new DeltaPack(old);
  const add = async (number: number, ...plain: Buffer[]) => {
    const bytes = Buffer.concat(plain);
    const chunks = plain.map((one) => ({ digest: digestOf(one), length: one.length }));
    await delta.add(number, { chunks, length: bytes.length }, bytes);
    return bytes;
  };
  await add(0, first.bytes, second.bytes); // all of it is there
  await add(1, randomBytes(60_000)); // nothing like it is
  const third = await add(2, rebuilt(first.bytes), second.bytes);
  await add(3, Buffer.concat([randomBytes(60_000), first.bytes.subarray(0, 5000)])); // too little is
  t.equal(delta.frames.length, 1);
  const [frame] = delta.frames;
  t.match(frame, { number: 2, length: delta.bytes.length, digest: digestOf(delta.bytes) });
  t.ok(delta.bytes.length < 5000, `${delta.bytes.length} bytes of ${third.length}`);
  const bases = frame?.bases.map(({ digest }) => old.find((one) => one.digest === digest)?.bytes);
  const base = Buffer.concat(bases?.flatMap((bytes) => bytes ?? []) ?? []);
  t.ok((await zstdDecompressDelta(delta.bytes, base, third.length)).equals(third));
});

t.test('it is told from so many chunks at most', async (t) => {
  const old = Array.from({ length: deltaBasesMax + 2000 }, () => known(randomBytes(400)));
  const delta = new DeltaPack(old);
  for (let number = 0; number * 1000 < old.length; number++) {
    const those = old.slice(number * 1000, number * 1000 + 1000);
    const plain = Buffer.concat([randomBytes(1), ...those.map(({ bytes }) => bytes)]);
    const chunks = [{ digest: digestOf(plain), length: plain.length }];
    await delta.add(number, { chunks, length: plain.length }, plain);
  }
  const bases = new Set(delta.frames.flatMap((frame) => frame.bases.map(({ digest }) => digest)));
  t.ok(bases.size > deltaBasesMax / 2 && bases.size <= deltaBasesMax, `${bases.size} chunks`);
});

t.test('of a hot pack of another version, what is broken or gone is left out', async (t) => {
  const plain = [0, 1, 2].map(() => randomBytes(100));
  const packed = await Promise.all(plain.map((bytes) => compressFrame(bytes, 1)));
  const frames = packed.map(({ bytes, codec }, at) => ({
    ...{ length: bytes.length, codec },
    chunks: [{ digest: digestOf(plain[at] ?? bytes), length: 100 }],
  }));
  const size = frames.reduce((sum, { length }) => sum + length, 0);
  const pack = { digest: digestOf(Buffer.from('pack')), size };
  const command: HotCommand = { args: ['a'], runs: 1, pack, frames };
  type Answer = Buffer | 'gone' | 'down';
  const read = async (...answers: Answer[]) => {
    const found = await readHotChunks(
      command,
      async ({ offset }) => {
        const answer = answers[offset / 100] ?? 'gone';
        if (answer === 'down') throw new ThinError('unavailable', 'it is down');
        if (answer === 'gone') throw new ThinError('not-found', 'it is gone');
        return answer;
      },
      signal,
    );
    return found.map(({ bytes }) => plain.findIndex((one) => one.equals(bytes)));
  };
  const [a = Buffer.alloc(0), b = a, c = a] = plain;
  t.same(await read(a, b, c), [0, 1, 2]);
  t.same(await read(a, 'gone', c), [0, 2], 'gone');
  t.same(await read(a, b, randomBytes(100)), [0, 1], 'something else');
  await t.rejects(read(a, 'down', c), { code: 'unavailable' });
});
