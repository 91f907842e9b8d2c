import t from 'tap';
import { fetchPlan, nextRun } from '../../src/cache/frame-plan.js';
import type { Frame } from '../../src/chunk/frame.js';
import { type Digest, digestOf } from '../../src/digest.js';
import fc from '../support/properties.js';

const packs = ['a', 'b'].map((name): Digest => digestOf(Buffer.from(name)));
const [packA = digestOf(Buffer.alloc(0))] = packs;

function frame(offset: number, length = 1000, pack = packA): Frame {
  return { pack, offset, length, plainLength: length, codec: 'stored' };
}

t.test('a longer or faster line gets larger requests, more of them, and wider gaps', async (t) => {
  const near = fetchPlan({ roundTripMs: 1, bytesPerSecond: 12_500_000 });
  const far = fetchPlan({ roundTripMs: 50, bytesPerSecond: 12_500_000 });
  const slow = fetchPlan({ roundTripMs: 50, bytesPerSecond: 2_500_000 });
  t.same(near, { runBytes: 262_144, gapBytes: 4096, outstandingBytes: 131_072 });
  t.same(far, { runBytes: 2_097_152, gapBytes: 78_125, outstandingBytes: 1_250_000 });
  t.same(slow, { runBytes: 500_000, gapBytes: 15_625, outstandingBytes: 250_000 });
  const unknown = fetchPlan({ roundTripMs: undefined, bytesPerSecond: undefined });
  t.same(unknown, { runBytes: 1_000_000, gapBytes: 31_250, outstandingBytes: 500_000 });
  const endless = fetchPlan({ roundTripMs: 10_000, bytesPerSecond: 1e12 });
  t.same(endless, { runBytes: 2_097_152, gapBytes: 262_144, outstandingBytes: 8_388_608 });
});

t.test('the first that is wanted decides what is asked for with it', async (t) => {
  const plan = { runBytes: 10_000, gapBytes: 500 };
  const [first, next, before, far, other] = [
    frame(5000),
    frame(6400),
    frame(4000),
    frame(7901),
    frame(5000, 1000, packs[1]),
  ];
  const wanted = [first, other, far, before, next];
  t.same(nextRun(wanted, plan), { run: [before, first, next], rest: [other, far] });
  t.same(nextRun([], plan), { run: [], rest: [] });
  const large = frame(0, 20_000);
  t.same(nextRun([large, frame(20_000)], plan).run, [large], 'one frame is always taken');
});

t.test('each frame is asked for once, within the limits', async () => {
  const frames = fc
    .uniqueArray(fc.tuple(fc.integer({ min: 0, max: 60 }), fc.integer({ min: 0, max: 1 })), {
      selector: ([place, pack]) => `${place} ${pack}`,
    })
    .map((places) => places.map(([place, pack]) => frame(place * 1000, 800, packs[pack])));
  const plan = fc.record({
    runBytes: fc.integer({ min: 1, max: 20_000 }),
    gapBytes: fc.integer({ min: 0, max: 3000 }),
  });
  fc.assert(
    fc.property(frames, plan, (wanted, limits) => {
      const asked: Frame[] = [];
      for (let rest: readonly Frame[] = wanted; rest.length > 0; ) {
        const next = nextRun(rest, limits);
        const [low, high] = [next.run[0], next.run.at(-1)];
        if (!low || !high || !rest[0] || !next.run.includes(rest[0])) return false;
        const length = high.offset + high.length - low.offset;
        if (next.run.length > 1 && length > limits.runBytes) return false;
        const apart = next.run.some((one, at) => {
          const before = next.run[at - 1];
          const gap = before ? one.offset - before.offset - before.length : 0;
          return gap < 0 || gap > limits.gapBytes || one.pack !== low.pack;
        });
        if (apart) return false;
        asked.push(...next.run);
        rest = next.rest;
      }
      return asked.length === wanted.length && new Set(asked).size === wanted.length;
    }),
  );
});
