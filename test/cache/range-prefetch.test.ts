import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import t from 'tap';
import type { FileOrigin } from '../../src/cache/file-origin.js';
import { FrameFlights } from '../../src/cache/frame-flights.js';
import { notCopied, type SharedFiles } from '../../src/cache/shared-files.js';
import { WorkAhead } from '../../src/cache/work-ahead.js';
import type { Frame } from '../../src/chunk/frame.js';
import { type Digest, digestOf } from '../../src/digest.js';
import { ThinError } from '../../src/errors.js';
import { openCache, scratchDirectory, signal, until } from './cache-rig.js';
import { MemoryOrigin } from './memory-origin.js';
import { tierFiles, wrongTierFiles } from './tier-listing.js';

const large = randomBytes(300_000);

/** Chunks of 4 KiB in frames of 16 KiB. */
function image(id: string): MemoryOrigin {
  const small = Array.from({ length: 30 }, () => randomBytes(700));
  return new MemoryOrigin(id, [large, ...small], 4096, 16_384);
}

function largeOf(origin: MemoryOrigin) {
  const [file] = origin.refs();
  if (!file) throw new Error('no file');
  return file;
}

t.test('ranges come in their order, each frame once, and only what they touch', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const origin = image('a');
  const cache = await openCache(t, root);
  const prefetch = cache.prefetch({ origin, signal });
  const file = largeOf(origin);
  for (const offset of [200_000, 0, 200_100]) prefetch.add({ ...file, offset, length: 20_000 });
  const totals = await prefetch.settled();
  const expected = [196_608, 212_992, 0, 16_384];
  t.same(origin.fetched, expected);
  t.match(totals, { frames: 4, bytes: 4 * 16_384, requests: 2, hereBytes: 0, failures: 0 });
  const read = await cache.read(file, 200_000, 20_000, origin, signal);
  t.ok(read.equals(large.subarray(200_000, 220_000)));
  t.same(origin.fetched, expected, 'a read finds what was brought');
  const again = cache.prefetch({ origin, signal });
  again.add({ ...file, offset: 0, length: 1 });
  for (const one of origin.refs().slice(1)) again.add({ ...one, offset: 0, length: one.size });
  await again.settled();
  t.equal(tierFiles(root).length, 30, 'small files are complete');
  t.same(wrongTierFiles(root), []);
  const before = origin.fetched.length;
  const last = cache.prefetch({ origin, signal });
  for (const one of origin.refs().slice(1)) last.add({ ...one, offset: 0, length: one.size });
  last.add({ ...file, offset: file.size, length: 10 });
  t.match(await last.settled(), {
    frames: 0,
    bytes: 0,
    requests: 0,
    hereBytes: 21_000,
    failures: 0,
  });
  t.equal(origin.fetched.length, before, 'what is here is not fetched');
});

t.test('what comes beside what was asked for is not looked for', async (t) => {
  const [missing, here] = [randomBytes(700), randomBytes(700)];
  const cache = await openCache(t, join(scratchDirectory(t), 'root'));
  const other = new MemoryOrigin('other', [here], 4096, 16_384);
  for (const one of other.refs()) await cache.read(one, 0, one.size, other, signal);
  await until(() => cache.has(digestOf(here))); // it is stored behind the read
  const origin = new MemoryOrigin('a', [missing, here], 4096, 16_384); // in one frame
  const bring = async (refs: readonly { content: Digest; size: number }[]) => {
    const prefetch = cache.prefetch({ origin, signal });
    for (const one of refs) prefetch.add({ ...one, offset: 0, length: one.size });
    return prefetch.settled();
  };
  const hereRefs = origin.refs().filter(({ content }) => content === digestOf(here));
  t.match(await bring(hereRefs), { frames: 0, hereBytes: 700 });
  t.match(await bring(origin.refs()), { frames: 1, hereBytes: 0 });
});

t.test(
  'a read that overtakes joins the fetch, and goes before what nobody waits for',
  async (t) => {
    const origin = image('a');
    const cache = await openCache(t, join(scratchDirectory(t), 'root'));
    const file = largeOf(origin);
    let release = (): void => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    origin.tamper = async (bytes) => {
      await gate;
      return bytes;
    };
    const prefetch = cache.prefetch({ origin, signal });
    prefetch.add({ ...file, offset: 0, length: file.size });
    await until(() => origin.fetched.length === 16);
    const joined = cache.read(file, 100, 100, origin, signal);
    const ahead = cache.read(file, 290_000, 100, origin, signal);
    await until(() => origin.fetched.length === 17);
    t.equal(origin.fetched[16], 278_528, 'not held up by those on their way');
    release();
    t.ok((await joined).equals(large.subarray(100, 200)));
    t.ok((await ahead).equals(large.subarray(290_000, 290_100)));
    await prefetch.settled();
    t.equal(new Set(origin.fetched).size, origin.fetched.length, 'nothing is fetched twice');
  },
);

t.test('neighbours come by one request; what it does not bring is fetched by itself', async (t) => {
  const origin = image('a');
  const runs: number[] = [];
  let begin = () => {};
  const begun = new Promise<void>((resolve) => {
    begin = resolve;
  });
  const inRuns: FileOrigin = {
    id: origin.id,
    chunksOf: (content) => origin.chunksOf(content),
    placementsIn: (frame) => origin.placementsIn(frame),
    fetchFrame: (frame, fetching) => origin.fetchFrame(frame, fetching),
    fetchRun: async (frames, fetching, { onFrame }) => {
      runs.push(frames.length);
      begin();
      for (const frame of frames.slice(0, 5)) onFrame(frame, origin.fetchFrame(frame, fetching));
      throw new ThinError('unavailable', 'Cannot fetch: it broke off');
    },
  };
  const cache = await openCache(t, join(scratchDirectory(t), 'root'));
  const file = largeOf(origin);
  const prefetch = cache.prefetch({ origin: inRuns, signal });
  prefetch.add({ ...file, offset: 0, length: 160_000 });
  await begun;
  const read = cache.read(file, 100_000, 10_000, inRuns, signal);
  t.ok((await read).equals(large.subarray(100_000, 110_000)));
  t.match(await prefetch.settled(), { failures: 0 });
  t.same(runs, [10]);
  t.equal(origin.fetched.length, 10);
  t.equal(new Set(origin.fetched).size, 10, 'nothing is fetched twice');
  t.ok((await cache.read(file, 0, 160_000, inRuns, signal)).equals(large.subarray(0, 160_000)));
});

t.test('frames that are in memory are not asked for', async (t) => {
  const origin = image('a');
  const runs: number[][] = [];
  const inRuns: FileOrigin = {
    id: origin.id,
    chunksOf: (content) => origin.chunksOf(content),
    placementsIn: (frame) => origin.placementsIn(frame),
    fetchFrame: (frame, fetching) => origin.fetchFrame(frame, fetching),
    fetchRun: async (frames, fetching, { onFrame }) => {
      runs.push(frames.map(({ offset }) => offset));
      for (const frame of frames) onFrame(frame, origin.fetchFrame(frame, fetching));
    },
  };
  const flights = new FrameFlights(async () => false); // a disk that takes nothing
  const chunks = origin.chunksOf(largeOf(origin).content) ?? [];
  const frames = [...new Set(chunks.map(({ frame }) => frame))].slice(0, 3);
  const bring = async (some: readonly Frame[]) => {
    const errors: unknown[] = [];
    const onLanded = (_frame: Frame, error: unknown) => errors.push(error);
    await flights.prefetchRun(inRuns, some, signal, { onArrival: () => {}, onLanded });
    await flights.settled();
    t.same(errors, Array(some.length).fill(undefined));
  };
  await bring(frames.slice(0, 2));
  await bring(frames);
  await bring(frames);
  t.same(runs, [[0, 16_384], [32_768]]);
});

t.test('it ends with its signal; what fails is left to who reads it', async (t) => {
  const origin = image('a');
  const cache = await openCache(t, join(scratchDirectory(t), 'root'));
  const file = largeOf(origin);
  const stop = new AbortController();
  origin.tamper = (_, __, fetching) =>
    new Promise((_, reject) => {
      fetching.addEventListener('abort', () => reject(new ThinError('canceled', 'Canceled')));
    });
  const stopped = cache.prefetch({ origin, signal: stop.signal });
  stopped.add({ ...file, offset: 0, length: file.size });
  await until(() => origin.fetched.length === 16);
  stop.abort();
  t.match(await stopped.settled(), { frames: 0, bytes: 0, failures: 0 });
  stopped.add({ ...file, offset: 0, length: 1 });
  await stopped.settled();
  t.equal(origin.fetched.length, 16);
  origin.tamper = () => {
    throw new ThinError('unavailable', 'Cannot fetch: down');
  };
  const failing = cache.prefetch({ origin, signal });
  failing.add({ ...file, offset: 0, length: 20_000 });
  t.match(await failing.settled(), { frames: 0, failures: 2 });
  origin.tamper = (bytes) => bytes;
  t.equal((await cache.read(file, 0, 10, origin, signal)).length, 10);
});

t.test('what another image brought is copied', async (t) => {
  const [first, second] = [image('a'), new MemoryOrigin('b', [large.subarray(4096)], 4096, 16_384)];
  const cache = await openCache(t, join(scratchDirectory(t), 'root'));
  const file = largeOf(first);
  await cache.read(file, 0, file.size, first, signal);
  await until(() => cache.has(file.content));
  await until(async () => (await cache.usage()).partialFiles === 0); // the index knows its place
  const prefetch = cache.prefetch({ origin: second, signal });
  prefetch.add({ ...largeOf(second), offset: 0, length: 100_000 });
  t.match(await prefetch.settled(), { failures: 0, copiedBytes: 102_400 });
  const read = await cache.read(largeOf(second), 0, 1000, second, signal);
  t.ok(read.equals(large.subarray(4096, 5096)));
  t.same(second.fetched, []);
});

t.test('what nodes share is looked for several files at a time', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const origin = image('a');
  let asking = 0;
  const shared: SharedFiles = {
    ...{ directory: root, here: true, direct: false, has: async () => true },
    ...{ wrong: () => {}, mounted: () => {}, offer: () => {}, offerAll: () => {} },
    ...{ copy: () => notCopied, endCopies: () => {} },
    read: async (file, offset, length) => {
      asking += 1;
      await until(() => asking >= 12); // one after the other, they would wait for good
      return origin.bytesOf(file).subarray(offset, offset + length);
    },
  };
  const cache = await openCache(t, root, { shared });
  const prefetch = cache.prefetch({ origin, signal });
  for (const file of origin.refs()) prefetch.add({ ...file, offset: 0, length: file.size });
  const { copiedBytes } = await prefetch.settled();
  t.equal(copiedBytes, 321_000);
  t.same(origin.fetched, []);
  t.equal(tierFiles(root).length, 31);
  t.same(wrongTierFiles(root), []);
});

t.test(
  'work ahead of its turn: so much of it at a time, and all of it is waited for',
  async (t) => {
    const ends = new Map<number, () => void>();
    const ahead = new WorkAhead<number, number>(
      { countMax: 3, weightMax: 10, weightOf: (weight) => weight },
      (weight) =>
        new Promise((resolve) => {
          ends.set(weight, () => resolve(weight));
        }),
    );
    const end = async (weight: number) => {
      ends.get(weight)?.();
      return await ahead.take(weight);
    };
    for (const weight of [11, 4, 5, 1, 0, 9]) ahead.add(weight);
    t.same([...ends.keys()], [11], 'one alone may weigh more');
    t.equal(await end(11), 11);
    await until(() => ends.size > 1);
    t.same([...ends.keys()], [11, 4, 5, 1], 'three at a time');
    t.equal(await ahead.take(9), undefined, 'what was not begun is for who takes it');
    let settled = false;
    const settling = ahead.settled().then(() => {
      settled = true;
    });
    for (const weight of [4, 5, 1]) await end(weight);
    await until(() => ends.has(0));
    t.notOk(settled);
    await Promise.all([end(0), settling]);
    t.same([...ends.keys()], [11, 4, 5, 1, 0]);
  },
);
