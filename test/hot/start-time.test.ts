import { setImmediate as turn } from 'node:timers/promises';
import t from 'tap';
import { StartTime } from '../../src/hot/start-time.js';
import { ManualClock } from '../store/manual-clock.js';

const limits = { ownMs: 30_000, mostMs: 300_000 };

/** A start, and what makes its time pass as long as it is not over. */
function start() {
  const clock = new ManualClock();
  const time = new StartTime(limits, clock);
  const abort = new AbortController();
  let isOver = false;
  const over = time.over(abort.signal).then(() => {
    isOver = true;
  });
  const pass = async (milliseconds: number) => {
    clock.pass(milliseconds);
    await turn();
    return isOver;
  };
  return { clock, time, abort, over, pass };
}

/** Something to wait for. */
function read() {
  let end = () => {};
  let fail = () => {};
  const bytes = new Promise<void>((resolve, reject) => {
    end = resolve;
    fail = () => reject(new Error('not there'));
  });
  return { bytes, end, fail };
}

t.test('a start that waits for nothing is over when its own time has passed', async (t) => {
  const { pass } = start();
  t.equal(await pass(29_999), false);
  t.equal(await pass(1), true);
});

t.test('while reads wait, however many, no time of its own passes', async (t) => {
  const { time, pass } = start();
  t.equal(await pass(10_000), false);
  const [one, two] = [read(), read()];
  time.waitsFor(one.bytes);
  t.equal(await pass(15_000), false);
  time.waitsFor(two.bytes);
  t.equal(await pass(15_000), false);
  one.end();
  t.equal(await pass(30_000), false, 'the other one still waits');
  two.fail();
  await turn();
  t.equal(await pass(19_000), false, 'of its own, 29 s');
  t.equal(await pass(1_000), true);
});

t.test('a program that waits all the time is not looked at for ever', async (t) => {
  const { time, pass } = start();
  time.waitsFor(read().bytes);
  t.equal(await pass(299_000), false);
  t.equal(await pass(1_000), true);
});

t.test('it need not be waited for', async (t) => {
  const { abort, over, time } = start();
  time.waitsFor(read().bytes);
  abort.abort(new Error('ready'));
  await t.rejects(over, /ready/);
});
