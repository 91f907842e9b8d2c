import { randomBytes } from 'node:crypto';
import t from 'tap';
import { until } from '../../scripts/until.js';
import type { Frame } from '../../src/chunk/frame.js';
import { digestOf } from '../../src/digest.js';
import { ThinError } from '../../src/errors.js';
import { onItsWay } from '../../src/on-its-way.js';
import { frameSource } from '../../src/store/frame-source.js';
import { openWritableStore } from '../../src/store/open-store.js';
import { Bandwidth } from '../../src/store/paced-frames.js';
import { PacksAhead } from '../../src/store/packs-ahead.js';
import type { Store } from '../../src/store/store.js';
import { ManualClock } from './manual-clock.js';
import { failsWith, never } from './store-suite.js';

const frameBytes = 100_000;
const frameCount = 209;
const manifest = digestOf(Buffer.from('manifest'));

const mebibyte = 1024 * 1024;
/** Of the pack, in requests of 1 MiB. */
const parts = 20;

/** A pack of 209 frames that do not compress: 20 MiB, of which 4 may be ahead of who reads. */
async function published(root: string) {
  const plain = randomBytes(frameCount * frameBytes);
  const pack = { digest: digestOf(plain), size: plain.length };
  const { store } = await openWritableStore(`dir:${root}`, {}, never);
  await store.putBlob(
    pack,
    async function* () {
      yield plain;
    },
    never,
  );
  const frames = Array.from({ length: frameCount }, (_, at): Frame => {
    const place = { pack: pack.digest, offset: at * frameBytes, length: frameBytes };
    return { ...place, plainLength: frameBytes, codec: 'stored' };
  });
  const asked: number[] = [];
  const counting: Store = {
    openRange: (blob, offset, length, signal, options) => {
      asked.push(offset);
      return store.openRange(blob, offset, length, signal, options);
    },
    readManifest: store.readManifest.bind(store),
    referrers: store.referrers.bind(store),
    tagged: store.tagged.bind(store),
    toString: () => `${store}`,
  };
  const origin = frameSource({ stores: [counting], packSize: () => pack.size, deadlineMs: 0 });
  const bytesOf = ({ offset, length }: Frame) => plain.subarray(offset, offset + length);
  return {
    pack,
    frames,
    store: counting,
    origin,
    asked,
    bytesOf,
  };
}

t.test('all of a pack comes ahead of who reads it, once', async (t) => {
  const { pack, frames, store, origin, asked, bytesOf } = await published(t.testdir({}));
  await using ahead = new PacksAhead(undefined);
  t.equal(ahead.frames(manifest, origin), origin, 'nothing is ahead of it');
  ahead.begin(manifest, store, pack);
  ahead.begin(manifest, store, pack);
  t.same(asked, [0, mebibyte], 'two requests at a time');
  const source = ahead.frames(manifest, origin);
  for (let at = 0; at < frames.length; at += 11) {
    const run = frames.slice(at, at + 11);
    const came = new Map<Frame, Promise<Buffer>>();
    const onFrame = (frame: Frame, bytes: Promise<Buffer>) => came.set(frame, bytes);
    await source.fetchRun(run, never, { background: true, onFrame });
    for (const [frame, bytes] of came) t.ok((await bytes).equals(bytesOf(frame)));
    t.equal(came.size, run.length);
  }
  t.same(
    asked,
    Array.from({ length: parts }, (_, part) => part * mebibyte),
  );
  const [first] = frames;
  if (!first) throw new Error('a pack without frames');
  t.ok((await source.fetchFrame(first, never)).equals(bytesOf(first)));
  t.equal(asked.length, parts + 1, 'what was read is let go of');
  const counts = source.counts();
  const requests = counts.reduce((sum, counted) => sum + counted.requests, 0);
  t.same([requests, counts.at(-1)?.bytes], [parts + 1, pack.size]);
});

t.test('when the first part is here, the next one is asked for', async (t) => {
  const { pack, store, asked } = await published(t.testdir({}));
  const released = onItsWay<void>();
  const firstOnly: Store = {
    ...store,
    async *openRange(blob, offset, length, signal) {
      if (offset > 0) {
        asked.push(offset);
        await released.promise;
      }
      yield* store.openRange(blob, offset, length, signal);
    },
    toString: () => 'first only',
  };
  await using ahead = new PacksAhead(undefined);
  ahead.begin(manifest, firstOnly, pack);
  await until('another is asked for', () => asked.length === 3);
  const inOrder = asked.sort((a, b) => a - b);
  t.same(inOrder, [0, mebibyte, 2 * mebibyte]);
  released.resolve();
});

t.test('no more is ahead than memory is for it; who wants more asks for it', async (t) => {
  const { pack, frames, store, origin, asked, bytesOf } = await published(t.testdir({}));
  await using ahead = new PacksAhead(undefined);
  ahead.begin(manifest, store, pack);
  const source = ahead.frames(manifest, origin);
  const take = async (run: readonly Frame[]) => {
    const came = new Map<Frame, Promise<Buffer>>();
    const onFrame = (frame: Frame, bytes: Promise<Buffer>) => came.set(frame, bytes);
    await source.fetchRun(run, never, { background: true, onFrame });
    for (const [frame, bytes] of came) t.ok((await bytes).equals(bytesOf(frame)));
    t.equal(came.size, run.length);
  };
  const ofParts = (count: number) => Array.from({ length: count }, (_, part) => part * mebibyte);
  await take(frames.slice(38, 41)); // in the fourth MiB
  t.same(asked, ofParts(4), 'nobody has read what is before it: that takes all memory');
  await take(frames.slice(41, 48));
  t.same(asked, [...ofParts(4), 41 * frameBytes], 'it goes on with a request of its own');
  const [second] = frames.slice(1);
  if (!second) throw new Error('a pack without frames');
  t.ok((await source.fetchFrame(second, never)).equals(bytesOf(second)));
  t.equal(asked.length, 5, 'what is ahead is taken from there');
  t.ok((await source.fetchFrame(second, never, { fresh: true })).equals(bytesOf(second)));
  t.equal(asked.length, 6, 'what was wrong is not');
  await take(frames.slice(2, 38));
  t.equal(asked.length, 6, 'what somebody else has asked for is not asked for ahead');
});

t.test('what does not come ahead is asked for by itself', async (t) => {
  const { pack, frames, store, origin, asked, bytesOf } = await published(t.testdir({}));
  const [first] = frames;
  if (!first) throw new Error('a pack without frames');
  await using ahead = new PacksAhead(undefined);
  ahead.begin(manifest, store, { ...pack, size: pack.size + 1 }); // the store has none such
  const source = ahead.frames(manifest, origin);
  const came = new Map<Frame, Promise<Buffer>>();
  const onFrame = (frame: Frame, bytes: Promise<Buffer>) => came.set(frame, bytes);
  for (const run of [frames.slice(0, 40), frames.slice(10, 30)]) {
    came.clear();
    await source.fetchRun(run, never, { background: true, onFrame });
    for (const [frame, bytes] of came) t.ok((await bytes).equals(bytesOf(frame)));
    t.equal(came.size, run.length);
  }
  // Those that were ahead may fail at the same moment, or each by itself.
  t.ok(asked.length >= 6 && asked.length <= 9, `${asked.length} for four ahead, and two runs`);
  const before = asked.length;
  t.ok((await source.fetchFrame(first, never)).equals(bytesOf(first)));
  t.equal(asked.length, before + 1);
  const gaveUp = new AbortController();
  gaveUp.abort();
  await failsWith(t, 'canceled', source.fetchFrame(first, gaveUp.signal));
  await ahead[Symbol.asyncDispose]();
  t.ok((await source.fetchFrame(first, never)).equals(bytesOf(first)), 'when it is forgotten');
});

t.test('what fails is asked for although the rest of it hangs', async (t) => {
  const { pack, frames, store, origin, asked, bytesOf } = await published(t.testdir({}));
  const released = onItsWay<void>();
  const beginning: Store = {
    ...store,
    async *openRange(blob, offset, length, signal) {
      if (offset > 0) throw new ThinError('not-found', 'Cannot get the rest');
      await released.promise;
      yield* store.openRange(blob, offset, length, signal);
    },
    toString: () => 'beginning',
  };
  await using ahead = new PacksAhead(undefined);
  ahead.begin(manifest, beginning, pack);
  const came: Frame[] = [];
  const onFrame = (frame: Frame, bytes: Promise<Buffer>) => {
    came.push(frame);
    void bytes.then((plain) => t.ok(plain.equals(bytesOf(frame))));
    if (asked.length === 1) released.resolve(); // the first MiB has not been asked for until now
  };
  await ahead.frames(manifest, origin).fetchRun(frames.slice(0, 40), never, {
    ...{ background: true, onFrame },
  });
  t.equal(came.length, 40);
  t.same(asked, [10 * frameBytes, 0], 'all but what is in the first MiB alone, by one request');
});

t.test('what fails in another order than that of the pack comes by one request', async (t) => {
  const { pack, frames, store, origin, asked, bytesOf } = await published(t.testdir({}));
  const parts = new Map([0, mebibyte].map((offset) => [offset, onItsWay<void>()]));
  const broken: Store = {
    ...store,
    openRange: (_, offset) => ({
      async *[Symbol.asyncIterator]() {
        await parts.get(offset)?.promise;
        yield* [];
        throw new ThinError('not-found', 'Cannot get any of it');
      },
    }),
    toString: () => 'broken',
  };
  await using ahead = new PacksAhead(undefined);
  ahead.begin(manifest, broken, { ...pack, size: 2 * mebibyte });
  const came: Frame[] = [];
  const onFrame = (frame: Frame, bytes: Promise<Buffer>) => {
    came.push(frame);
    void bytes.then((plain) => t.ok(plain.equals(bytesOf(frame))));
  };
  const run = ahead.frames(manifest, origin).fetchRun(frames.slice(0, 20), never, {
    ...{ background: true, onFrame },
  });
  for (const offset of [mebibyte, 0]) parts.get(offset)?.resolve();
  await run;
  t.equal(came.length, 20);
  t.same(asked, [0]);
});

t.test(
  'where background work is limited, no more than a beginning is asked for ahead',
  async (t) => {
    const { pack, frames, store, origin, asked } = await published(t.testdir({}));
    const bandwidth = new Bandwidth(mebibyte, new ManualClock());
    await using ahead = new PacksAhead(bandwidth);
    ahead.begin(manifest, store, pack);
    const source = ahead.frames(manifest, origin);
    const came: Promise<Buffer>[] = [];
    const onFrame = (_: Frame, bytes: Promise<Buffer>) => came.push(bytes);
    await source.fetchRun(frames.slice(0, 41), never, { background: true, onFrame });
    await Promise.all(came); // almost all of 4 MiB, which would make room for more
    t.same(
      asked,
      [0, 1, 2, 3].map((part) => part * mebibyte),
    );
    t.ok(bandwidth.delayMs > 0, 'it counts');
  },
);

t.test('what fails together is asked for in the order of the pack', async (t) => {
  const { pack, frames, store, origin, asked, bytesOf } = await published(t.testdir({}));
  const secondFailed = onItsWay<void>();
  const failure = async (offset: number): Promise<Buffer> => {
    if (offset > 0) secondFailed.resolve();
    await secondFailed.promise;
    if (offset === 0) await new Promise(process.nextTick); // later, in the same turn
    throw new ThinError('not-found', 'Cannot get it');
  };
  const gone: Store = {
    ...store,
    async *openRange(_, offset) {
      yield await failure(offset);
    },
    toString: () => 'gone',
  };
  await using ahead = new PacksAhead(undefined);
  ahead.begin(manifest, gone, pack);
  const came: Frame[] = [];
  const onFrame = (frame: Frame, bytes: Promise<Buffer>) => {
    came.push(frame);
    void bytes.then((plain) => t.ok(plain.equals(bytesOf(frame))));
  };
  const run = frames.slice(0, 40);
  await ahead.frames(manifest, origin).fetchRun(run, never, { background: true, onFrame });
  t.same(came, run);
  t.same(asked, [0]);
});

t.test('nothing is asked for ahead where background work has to wait', async (t) => {
  const { pack, store, origin, asked } = await published(t.testdir({}));
  const bandwidth = new Bandwidth(1000, new ManualClock());
  bandwidth.spend(2000);
  await using ahead = new PacksAhead(bandwidth);
  ahead.begin(manifest, store, pack);
  t.equal(ahead.frames(manifest, origin), origin);
  t.same(asked, []);
});
