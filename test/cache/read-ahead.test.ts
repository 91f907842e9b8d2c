import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { FileCache } from '../../src/cache/file-cache.js';
import type { FileOrigin, FileRef } from '../../src/cache/file-origin.js';
import type { Frame } from '../../src/chunk/frame.js';
import { openCache, scratchDirectory, signal, until } from './cache-rig.js';
import { MemoryOrigin } from './memory-origin.js';

const frameBytes = 4096;
const large = randomBytes(40 * frameBytes);
/** Each fills a frame. */
const small = Array.from({ length: 30 }, () => randomBytes(frameBytes));

/** A chunk a frame; what is asked of it is kept in `fetched`, by the number of the frame. */
function image(isLearning: boolean) {
  const origin = new MemoryOrigin('ahead', [large, ...small], frameBytes, frameBytes);
  const frames = [...origin.chunks.values()].flat().map(({ frame }) => frame);
  const around = ({ offset }: Frame, before: number, behind: number) =>
    frames.filter((frame) => {
      const away = (frame.offset - offset) / frameBytes;
      return away !== 0 && away >= -before && away <= behind;
    });
  const ahead: FileOrigin = Object.assign(origin, {
    framesAround: around,
    isLearning: () => isLearning,
  });
  const fetched = () =>
    [...new Set(origin.fetched)].map((offset) => offset / frameBytes).sort((a, b) => a - b);
  const [first, ...others] = origin.refs();
  if (!first) throw new Error('no file');
  return { origin, ahead, fetched, first, others };
}

function openIn(t: Test): Promise<FileCache> {
  return openCache(t, join(scratchDirectory(t), 'root'));
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, at) => first + at);
}

async function readFrames(
  cache: FileCache,
  file: FileRef,
  origin: FileOrigin,
  frames: readonly number[],
): Promise<void> {
  for (const at of frames) {
    await cache.read(file, at * frameBytes, frameBytes, origin, signal);
  }
}

t.test('nothing is known of a start: the rest of the file comes, once', async (t) => {
  const cache = await openIn(t);
  const { origin, ahead, fetched, first } = image(true);
  await readFrames(cache, first, ahead, [12]);
  await until(() => fetched().length === 40);
  t.same(fetched(), range(0, 39), 'and no other file');
  await readFrames(cache, first, ahead, range(0, 39));
  t.equal(origin.fetched.length, 40);
});

t.test('of a small file, what lies beside it comes', async (t) => {
  const cache = await openIn(t);
  const { origin, ahead, fetched, others } = image(true);
  const [, , third, fourth] = others;
  if (!third || !fourth) throw new Error('no files');
  await readFrames(cache, third, ahead, [0]);
  await until(() => fetched().length === 7);
  t.same(fetched(), range(40, 46), 'two before, four behind');
  await readFrames(cache, fourth, ahead, [0]);
  await until(() => fetched().length === 8);
  t.same(fetched(), range(40, 47), 'it goes on from there');
  t.equal(origin.fetched.length, 8, 'each once');
});

t.test('where little of it is read, little more comes than is read', async (t) => {
  const cache = await openIn(t);
  const fileBytes = 512 * 1024;
  const files = Array.from({ length: 16 }, () => randomBytes(fileBytes));
  const origin = new MemoryOrigin('wide', files, 16_384, 16_384);
  const ahead: FileOrigin = Object.assign(origin, {
    framesAround: () => [],
    isLearning: () => true,
  });
  for (const file of origin.refs()) await cache.read(file, 0, 16_384, ahead, signal);
  await until(() => origin.fetched.length > 16);
  await cache[Symbol.asyncDispose](); // nothing is under way any more
  const read = 16 * 16_384;
  const bound = read + 192 * 1024 + 0.15 * read;
  t.ok(origin.fetched.length * 16_384 > read, 'something came ahead');
  t.ok(origin.fetched.length * 16_384 <= bound, `${origin.fetched.length} frames of 16 kB`);
});

t.test('otherwise who reads in order is read ahead for, by as much as was read', async (t) => {
  const cache = await openIn(t);
  const { ahead, fetched, first } = image(false);
  const kept = (at: number) =>
    until(() => (((cache.partialView(first, ahead)?.verified[0] ?? 0) >> at) & 1) === 1);
  await readFrames(cache, first, ahead, [20, 0]);
  await kept(0);
  await readFrames(cache, first, ahead, [1]);
  for (const at of [1, 2]) await kept(at); // in no order
  t.same(fetched(), [0, 1, 2, 20], 'not for who jumps');
  await readFrames(cache, first, ahead, [3]);
  await kept(6);
  t.same(fetched(), [...range(0, 6), 20]);
});

t.test('where nothing is to be read ahead, nothing is', async (t) => {
  const cache = await openIn(t);
  const origin = new MemoryOrigin('alone', [large], frameBytes, frameBytes);
  const [file] = origin.refs();
  if (!file) throw new Error('no file');
  await readFrames(cache, file, origin, range(0, 5));
  t.equal(origin.fetched.length, 6);
});
