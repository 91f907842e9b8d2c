import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ImagePuller } from '../../src/pull/image-puller.js';
import { lastLayer } from '../../src/pull/last-layer.js';
import type { PullMode } from '../../src/pull/pull-mode.js';
import type { PullProgress } from '../../src/pull/pull-run.js';
import { TierChoice, TierPromises } from '../../src/pull/tier-choice.js';
import { openCache, scratchDirectory, signal, until } from '../cache/cache-rig.js';
import { filesIn } from '../cache/tier-listing.js';
import fc from '../support/properties.js';
import { archive, file } from '../support/tar-builder.js';
import { inlineWorkers, layerOf, piecesOf, pullAndPin, type ServedLayer } from './pull-rig.js';

const lefts = (...bytes: number[]) => bytes.map((left) => ({ left }));

t.test('the layer that ends last, of layers that share a link', async (t) => {
  const predicted = (streams: number, order: number[], ...bytes: number[]) =>
    lastLayer(lefts(...bytes), order, streams);
  t.equal(predicted(1, [0, 1, 2], 5, 900, 1), 2, 'one after the other: the last to begin');
  t.equal(predicted(1, [1, 0, 2], 5, 900, 0), 0, 'what is here does not come');
  t.equal(predicted(3, [0, 1, 2], 5, 900, 1), 1, 'all at once: the largest');
  t.equal(predicted(2, [1, 0, 2], 5, 9, 3), 1, '0 ends at 10, 2 begins, and both end at 16 and 17');
  t.equal(predicted(2, [0, 1, 2], 10, 10, 10), 2);
  t.equal(predicted(2, [0, 1], 10, 10), 1, 'of two that end at once the upper one');
  t.equal(predicted(2, [0, 1], 0, 0), undefined);
  t.equal(predicted(0, [0, 1], 3, 4), 1, 'a link that nobody may use yet');
});

t.test('the prediction is what moving the bytes one by one gives', async () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(12), { minLength: 1, maxLength: 6 }),
      fc.integer({ min: 1, max: 4 }),
      (bytes, streams) => {
        const order = [...bytes.keys()].sort((a, b) => (bytes[b] ?? 0) - (bytes[a] ?? 0));
        const left = [...bytes];
        let last: number | undefined;
        const waiting = order.filter((index) => (bytes[index] ?? 0) > 0);
        for (let running = waiting.splice(0, streams); running.length > 0; ) {
          for (const index of running) left[index] = (left[index] ?? 0) - 1;
          const ended = running.filter((index) => left[index] === 0);
          if (ended.length > 0) last = Math.max(...ended);
          running = running.filter((index) => !ended.includes(index));
          running.push(...waiting.splice(0, streams - running.length));
        }
        return lastLayer(lefts(...bytes), order, streams) === last;
      },
    ),
  );
});

t.test(
  'a fast tier takes what ends last and what is above it, as far as it has room',
  async (t) => {
    const outlook = {
      layers: [100, 900, 100].map((size) => ({ left: size, size })),
      order: [0, 1, 2],
      streams: 3,
      fast: { name: 'fast', roomBytes: 4100 },
    };
    const promises = new TierPromises();
    const choice = new TierChoice(promises);
    t.equal(choice.choose(0, outlook).tier, 'local');
    const first = choice.choose(1, outlook);
    t.equal(first.tier, 'fast');
    const second = choice.choose(2, outlook);
    t.equal(second.tier, 'fast');
    t.equal(choice.choose(2, outlook).tier, 'local', 'its room is promised');
    const otherPull = new TierChoice(promises);
    t.equal(otherPull.choose(2, outlook).tier, 'local', 'also to another pull');
    first[Symbol.dispose]();
    first[Symbol.dispose]();
    const over = { ...outlook, layers: outlook.layers.map(({ size }) => ({ size, left: 0 })) };
    t.equal(choice.choose(1, over).tier, 'fast', 'what was predicted holds when all has come');
    t.equal(choice.choose(0, over).tier, 'local');
    t.equal(
      new TierChoice(new TierPromises()).choose(1, { ...outlook, fast: undefined }).tier,
      'local',
    );
  },
);

async function pullWithTiers(
  t: Test,
  layers: ServedLayer[],
  mode: PullMode,
  quotaBytes: number,
  look: (progress: PullProgress) => void = () => undefined,
) {
  const [root, directory] = [join(scratchDirectory(t), 'root'), join(scratchDirectory(t), 'fast')];
  const fast = { name: 'fast', directory, quotaBytes, freeSpaceFloorBytes: 0 };
  const cache = await openCache(t, root, { tiers: [fast] });
  const puller = await ImagePuller.open(cache, root, { workers: inlineWorkers });
  let last: PullProgress | undefined;
  const onProgress = (progress: PullProgress) => {
    last = progress;
    look(progress);
  };
  const { files } = await pullAndPin(puller, { image: 'i', layers, mode, signal, onProgress });
  const [inFast = [], inLocal = []] = cache.tierDirectories.map(filesIn);
  const { tiers } = await cache.usage();
  t.match(tiers, [{ name: 'fast' }, { name: 'local' }]);
  t.ok((tiers[0]?.bytes ?? 0) <= quotaBytes, 'the tier keeps its limit');
  return { files, last: last?.layers, counts: [inFast.length, inLocal.length] };
}

t.test('layers go where the prediction says, and the report tells it', async (t) => {
  let seen: PullProgress['layers'] = [];
  const look = ({ layers }: PullProgress) => {
    seen = layers;
  };
  let mode: PullMode;
  const layers = [3, 2, 1].map((count, index) =>
    layerOf(
      archive(...Array.from({ length: count }, (_, at) => file(`${at}`, randomBytes(4000)))),
      {
        // Where all come at once, the lowest is the last to end, whichever of them is stored first.
        serve: async function* (blob) {
          const came = () => seen.slice(1).every(({ downloaded, size }) => downloaded === size);
          yield* piecesOf(blob);
          if (index === 0 && mode === 'docker') await until(() => seen.length > 0 && came());
        },
      },
    ),
  );
  for (mode of ['pipelined', 'docker'] as const) {
    seen = [];
    const { counts, last } = await pullWithTiers(t, layers, mode, 1e9, look);
    const upper = mode === 'docker' ? [6, 0] : [1, 5]; // three at once: the lowest is the largest
    t.same(counts, upper, mode);
    t.equal(last?.[2]?.tier, 'fast');
    t.equal(last?.[1]?.tier, mode === 'docker' ? 'fast' : 'local');
  }
  mode = 'pipelined';
  const { counts } = await pullWithTiers(t, layers, mode, 10_000);
  t.same(counts, [0, 6], 'no room for what it may take');
});

t.test('layers come in their order, however long each is looked up', async (t) => {
  const warnings: Error[] = [];
  const warn = (warning: Error) => warnings.push(warning);
  process.on('warning', warn);
  t.teardown(() => process.off('warning', warn));
  for (const mode of ['sequential', 'pipelined'] as const) {
    const asked: number[] = [];
    const layers = Array.from({ length: 40 }, (_, at) =>
      layerOf(archive(file(`${at}`, `${at}`)), {
        serve: (blob) => {
          asked.push(at);
          return piecesOf(blob);
        },
      }),
    );
    await pullWithTiers(t, layers, mode, 1e9);
    t.same(asked, [...layers.keys()], mode);
  }
  t.same(warnings, [], 'so many wait for one signal');
});

t.test('a layer that grows out of the fast tier goes to the local one, whole', async (t) => {
  const text = (at: number) => `${at}`.repeat(100_000);
  const files = Array.from({ length: 30 }, (_, at) => file(`${at}`, text(100 + at)));
  const layer = layerOf(archive(file('first', randomBytes(1000)), ...files));
  t.ok(4 * layer.descriptor.size < 2_000_000, 'it is taken to be small');
  const { counts, last, files: found } = await pullWithTiers(t, [layer], 'auto', 2_000_000);
  t.equal(found, 31);
  t.same(counts, [0, 31]);
  t.match(last, [{ tier: 'local', phase: 'done' }]);
});
