import t from 'tap';
import { Bandwidth, PacedFrames } from '../../src/store/paced-frames.js';
import { madeUpDigest, madeUpFrame } from '../thin/made-up-chunks.js';
import { ManualClock } from './manual-clock.js';
import { ScriptedFrames } from './scripted-frames.js';
import { failsWith, never } from './store-suite.js';

const plain = Buffer.from('plain');
const frameOf = (length: number) => madeUpFrame(madeUpDigest('pack'), { length });

t.test('background fetches have the bandwidth and no more', async (t) => {
  const clock = new ManualClock();
  const bandwidth = new Bandwidth(100_000, clock);
  const origin = new ScriptedFrames('origin', plain);
  const paced = new PacedFrames(origin, bandwidth, clock);
  const fetching = (async () => {
    for (let at = 0; at < 40; at++) {
      await paced.fetchFrame(frameOf(10_000), never, { background: true });
    }
  })();
  const ticks = 400;
  for (let tick = 0; tick < ticks && origin.calls.length < 40; tick++) {
    await clock.asleep(1);
    clock.pass(10);
    await new Promise(setImmediate);
  }
  await fetching;
  // 400 000 bytes at 100 000 a second, less what may come at once, and the last frame.
  t.ok(clock.now() >= 3500 && clock.now() <= 4000, `${clock.now()} ms`);
});

t.test('what somebody waits for comes at once, and is counted', async (t) => {
  const clock = new ManualClock();
  const bandwidth = new Bandwidth(100_000, clock);
  const origin = new ScriptedFrames('origin', plain);
  const paced = new PacedFrames(origin, bandwidth, clock);
  for (let at = 0; at < 10; at++) await paced.fetchFrame(frameOf(50_000), never);
  t.equal(origin.calls.length, 10);
  t.equal(Math.ceil(bandwidth.delayMs), 4750);
});

t.test('a background fetch that waits goes at once when somebody waits for it', async (t) => {
  const clock = new ManualClock();
  const bandwidth = new Bandwidth(1000, clock);
  const origin = new ScriptedFrames('origin', plain);
  const paced = new PacedFrames(origin, bandwidth, clock);
  await paced.fetchFrame(frameOf(100_000), never);
  const options = { background: true };
  const waiting = paced.fetchFrame(frameOf(10), never, options);
  await clock.asleep(1);
  options.background = false;
  clock.pass(50);
  t.equal(await waiting, plain);
  const stop = new AbortController();
  const givenUp = paced.fetchFrame(frameOf(10), stop.signal, { background: true });
  await clock.asleep(1);
  stop.abort();
  await failsWith(t, 'canceled', givenUp);
});
