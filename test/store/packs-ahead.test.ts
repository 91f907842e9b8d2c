import { randomBytes } from 'node:crypto';
import t from 'tap';
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
const manifest = digestOf(Buffer.from('manifest'));

/** A pack of 70 frames that do not compress: what is asked for ahead ends inside the 42nd. */
async function published(root: string) {
  const plain = randomBytes(70 * frameBytes);
  const pack = { digest: digestOf(plain), size: plain.length };
  const { store } = await openWritableStore(`dir:${root}`, {}, never);
  await store.putBlob(
    pack,
    async function* () {
      yield plain;
    },
    never,
  );
  const frames = Array.from({ length: 70 }, (_, at): Frame => {
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

t.test('frames are taken from what was asked for ahead, all others from the origin', async (t) => {
  const { pack, frames, store, origin, asked, bytesOf } = await published(t.testdir({}));
  await using ahead = new PacksAhead(undefined);
  t.equal(ahead.frames(manifest, origin), origin, 'nothing is ahead of it');
  ahead.begin(manifest, store, pack);
  ahead.begin(manifest, store, pack);
  const source = ahead.frames(manifest, origin);
  const came = new Map<Frame, Promise<Buffer>>();
  const onFrame = (frame: Frame, bytes: Promise<Buffer>) => came.set(frame, bytes);
  await source.fetchRun(frames.slice(30, 50), never, { background: true, onFrame });
  for (const [frame, bytes] of came) t.ok((await bytes).equals(bytesOf(frame)));
  t.equal(came.size, 20);
  t.same(asked, [0, 2 * 1024 * 1024, 41 * frameBytes], 'two requests ahead, one for the rest');
  const [first, last] = [frames[0], frames[69]];
  if (!first || !last) throw new Error('a pack without frames');
  t.ok((await source.fetchFrame(first, never)).equals(bytesOf(first)));
  t.equal(asked.length, 3);
  t.ok((await source.fetchFrame(first, never, { fresh: true })).equals(bytesOf(first)));
  t.ok((await source.fetchFrame(last, never)).equals(bytesOf(last)));
  t.equal(asked.length, 5, 'what was wrong, or is not ahead, is asked for');
  const counts = source.counts();
  t.equal(
    counts.reduce((sum, { requests }) => sum + requests, 0),
    5,
  );
  t.equal(counts.at(-1)?.bytes, 4 * 1024 * 1024);
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
  // Both that were ahead may fail at the same moment.
  t.ok(asked.length === 4 || asked.length === 5, `${asked.length} for two ahead, and two runs`);
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
  const half: Store = {
    ...store,
    async *openRange(blob, offset, length, signal) {
      if (offset > 0) throw new ThinError('not-found', 'Cannot get the second half');
      await released.promise;
      yield* store.openRange(blob, offset, length, signal);
    },
    toString: () => 'half',
  };
  await using ahead = new PacksAhead(undefined);
  ahead.begin(manifest, half, pack);
  const came: Frame[] = [];
  const onFrame = (frame: Frame, bytes: Promise<Buffer>) => {
    came.push(frame);
    void bytes.then((plain) => t.ok(plain.equals(bytesOf(frame))));
    if (asked.length === 1) released.resolve(); // the first half has not been asked for until now
  };
  await ahead.frames(manifest, origin).fetchRun(frames.slice(0, 40), never, {
    ...{ background: true, onFrame },
  });
  t.equal(came.length, 40);
  t.same(asked, [20 * frameBytes, 0], 'of the second half what is not in the first, too');
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
