import t from 'tap';
import { ThinError } from '../../src/errors.js';
import { BoundedFrames } from '../../src/store/bounded-frames.js';
import { FailoverFrames } from '../../src/store/failover-frames.js';
import { FetchSlots, fetchesInFlightMax } from '../../src/store/fetch-slots.js';
import { GatedFrames } from '../../src/store/gated-frames.js';
import { RetryAfter } from '../../src/store/http-answer.js';
import { PatientFrames } from '../../src/store/patient-frames.js';
import { SingleFlightFrames } from '../../src/store/single-flight-frames.js';
import { SourceHealth } from '../../src/store/source-health.js';
import { madeUpDigest, madeUpFrame } from '../thin/made-up-chunks.js';
import { ManualClock } from './manual-clock.js';
import { ScriptedFrames } from './scripted-frames.js';
import { failsWith, never } from './store-suite.js';

const frame = madeUpFrame(madeUpDigest('pack'));
const plain = Buffer.from('plain');

const frameAt = (offset: number) => madeUpFrame(madeUpDigest('pack'), { offset });

t.test('single flight: many callers, one fetch', async (t) => {
  const origin = new ScriptedFrames('origin', 'wait');
  const flights = new SingleFlightFrames(origin);
  const waiting = Array.from({ length: 5 }, () => flights.fetchFrame(frame, never));
  const other = flights.fetchFrame(frameAt(600), never);
  await origin.called(2);
  for (const call of origin.calls) call.give(plain);
  t.strictSame(await Promise.all([...waiting, other]), Array(6).fill(plain));
  t.equal(origin.calls.length, 2);
  const later = flights.fetchFrame(frame, never);
  await origin.called(3);
  origin.calls[2]?.give(plain);
  t.equal(await later, plain, 'nothing is kept when it has landed');
});

t.test('single flight: one that gives up leaves the others their fetch', async (t) => {
  const origin = new ScriptedFrames('origin', 'wait');
  const flights = new SingleFlightFrames(origin);
  const [impatient, patient] = [new AbortController(), new AbortController()];
  const first = flights.fetchFrame(frame, impatient.signal);
  const second = flights.fetchFrame(frame, patient.signal);
  impatient.abort();
  await failsWith(t, 'canceled', first);
  t.equal(origin.calls[0]?.signal.aborted, false);
  origin.calls[0]?.give(plain);
  t.equal(await second, plain);
});

t.test('single flight: with the last one the fetch is given up', async (t) => {
  const origin = new ScriptedFrames('origin', 'wait');
  const flights = new SingleFlightFrames(origin);
  const [one, two] = [new AbortController(), new AbortController()];
  const waiting = [one, two].map(({ signal }) => flights.fetchFrame(frame, signal));
  one.abort();
  two.abort();
  for (const fetch of waiting) await failsWith(t, 'canceled', fetch);
  t.equal(origin.calls[0]?.signal.aborted, true);
  origin.script(plain);
  t.equal(await flights.fetchFrame(frame, never), plain, 'and a new one is not joined to it');
  await failsWith(t, 'canceled', flights.fetchFrame(frame, AbortSignal.abort()));
});

t.test('single flight: all are told of a failure, and the next one tries anew', async (t) => {
  const origin = new ScriptedFrames('origin', 'denied', plain);
  const flights = new SingleFlightFrames(origin);
  const both = [flights.fetchFrame(frame, never), flights.fetchFrame(frame, never)];
  for (const fetch of both) await failsWith(t, 'denied', fetch);
  t.equal(await flights.fetchFrame(frame, never), plain);
});

t.test('single flight: a fresh fetch does not join one that is not', async (t) => {
  const origin = new ScriptedFrames('origin', 'wait');
  const flights = new SingleFlightFrames(origin);
  const both = [false, true].map((fresh) => flights.fetchFrame(frame, never, { fresh }));
  t.strictSame(
    origin.calls.map(({ options }) => options.fresh),
    [false, true],
  );
  for (const call of origin.calls) call.give(plain);
  await Promise.all(both);
});

t.test('bounded: what somebody waits for goes first', async (t) => {
  const origin = new ScriptedFrames('origin', 'wait');
  const flights = new SingleFlightFrames(new BoundedFrames(origin, new FetchSlots()));
  const all: Promise<Buffer>[] = [];
  const fetch = (offset: number, background: boolean) =>
    all.push(flights.fetchFrame(frameAt(offset), never, { background }));
  for (let at = 0; at < fetchesInFlightMax; at++) fetch(at, true);
  t.equal(origin.calls.length, fetchesInFlightMax, 'as many as may fly');
  fetch(100, true);
  fetch(101, true);
  fetch(102, false);
  fetch(101, false);
  t.equal(origin.calls.length, fetchesInFlightMax, 'the others wait');
  for (let landed = 0; landed < all.length - 1; landed++) {
    await origin.called(landed + 1);
    origin.calls[landed]?.give(plain);
  }
  await Promise.all(all);
  const order = origin.calls.slice(fetchesInFlightMax).map((call) => call.frame.offset);
  t.strictSame(order, [101, 102, 100], '101 became urgent while it waited');
});

t.test('bounded: one that gives up in the queue leaves its place', async (t) => {
  const origin = new ScriptedFrames('origin', 'wait');
  const bounded = new BoundedFrames(origin, new FetchSlots());
  const flying = Array.from({ length: fetchesInFlightMax }, (_, at) =>
    bounded.fetchFrame(frameAt(at), never),
  );
  const abort = new AbortController();
  const queued = bounded.fetchFrame(frame, abort.signal);
  await failsWith(t, 'canceled', bounded.fetchFrame(frame, AbortSignal.abort()));
  abort.abort();
  await failsWith(t, 'canceled', queued);
  for (const call of origin.calls) call.give(plain);
  await Promise.all(flying);
  origin.script(plain);
  const again = Array.from({ length: fetchesInFlightMax }, () => bounded.fetchFrame(frame, never));
  t.strictSame(
    await Promise.all(again),
    Array(fetchesInFlightMax).fill(plain),
    'all places are free again',
  );
});

t.test('failover: a source that fails is asked last for a while', async (t) => {
  const clock = new ManualClock();
  const near = new ScriptedFrames('near', 'unavailable', plain);
  const far = new ScriptedFrames('far', plain);
  const failover = new FailoverFrames([near, far], clock);
  t.equal(await failover.fetchFrame(frame, never), plain);
  await failover.fetchFrame(frame, never);
  t.strictSame([near.calls.length, far.calls.length], [1, 2], 'near rests');
  clock.pass(30_000);
  await failover.fetchFrame(frame, never);
  t.strictSame([near.calls.length, far.calls.length], [2, 2], 'near is first again');
  t.equal(failover.toString(), 'near, then far');
});

t.test('failover: a source that has not got it all is no bad source', async (t) => {
  const near = new ScriptedFrames('near', 'not-found', plain);
  const far = new ScriptedFrames('far', plain);
  const failover = new FailoverFrames([near, far], new ManualClock());
  await failover.fetchFrame(frame, never);
  await failover.fetchFrame(frame, never);
  t.strictSame([near.calls.length, far.calls.length], [2, 1]);
});

t.test('failover: of all failures, the one that says best what to do', async (t) => {
  const failing = (...codes: ('unavailable' | 'denied' | 'corrupt' | 'not-found')[]) => {
    const sources = codes.map((code) => new ScriptedFrames(code, code));
    return new FailoverFrames(sources, new ManualClock()).fetchFrame(frame, never);
  };
  await failsWith(t, 'unavailable', failing('not-found', 'unavailable', 'denied'));
  await failsWith(t, 'corrupt', failing('denied', 'corrupt'));
  await failsWith(t, 'denied', failing('not-found', 'denied'));
  await failsWith(t, 'not-found', failing('not-found', 'not-found'));
  await failsWith(t, 'not-found', failing());
});

t.test('failover: what is corrupt is asked for elsewhere, past caches', async (t) => {
  const near = new ScriptedFrames('near', 'corrupt');
  const far = new ScriptedFrames('far', plain);
  t.equal(await new FailoverFrames([near, far], new ManualClock()).fetchFrame(frame, never), plain);
  t.strictSame(
    [near, far].map((source) => source.calls.map(({ options }) => options.fresh)),
    [[false], [true]],
  );
});

t.test('failover: the only source is asked once more, past caches', async (t) => {
  const only = new ScriptedFrames('only', 'corrupt');
  const failover = new FailoverFrames([only], new ManualClock());
  await failsWith(t, 'corrupt', failover.fetchFrame(frame, never));
  t.strictSame(
    only.calls.map(({ options }) => options.fresh),
    [false, true],
  );
});

t.test('failover: who found the bytes wrong gets them from somebody else', async (t) => {
  const near = new ScriptedFrames('near', Buffer.from('wrong'));
  const far = new ScriptedFrames('far', plain);
  const failover = new FailoverFrames([near, far], new ManualClock());
  t.same(await failover.fetchFrame(frame, never), Buffer.from('wrong'));
  t.equal(await failover.fetchFrame(frame, never, { fresh: true }), plain);
  t.strictSame(
    far.calls.map(({ options }) => options.fresh),
    [true],
  );
});

t.test('failover: nobody else is asked once the caller has given up', async (t) => {
  const near = new ScriptedFrames('near', 'wait');
  const far = new ScriptedFrames('far', plain);
  const abort = new AbortController();
  const failover = new FailoverFrames([near, far], new ManualClock());
  const fetch = failover.fetchFrame(frame, abort.signal);
  abort.abort();
  await failsWith(t, 'canceled', fetch);
  t.equal(far.calls.length, 0);
});

t.test('failover: a source that stalls is not waited for', async (t) => {
  const near = new ScriptedFrames('near', 'wait');
  const far = new ScriptedFrames('far', plain);
  const failover = new FailoverFrames([near, far], new ManualClock());
  const fetch = failover.fetchFrame(frame, never);
  near.calls[0]?.options.onStall?.('queued');
  t.equal(await fetch, plain);
  t.equal(near.calls[0]?.signal.aborted, true, 'what is no longer wanted is given up');
});

t.test('failover: the only source is asked anew when it stalls, three at a time', async (t) => {
  const only = new ScriptedFrames('only', 'wait');
  const failover = new FailoverFrames([only], new ManualClock());
  const fetch = failover.fetchFrame(frame, never);
  const stall = (where: 'queued' | 'asked') => only.calls.at(-1)?.options.onStall?.(where);
  stall('queued');
  t.equal(only.calls.length, 1, 'waiting twice for a turn would not help');
  stall('asked');
  stall('asked');
  stall('asked');
  t.equal(only.calls.length, 3);
  only.calls[1]?.fail('unavailable');
  await new Promise(setImmediate);
  t.equal(only.calls.length, 4, 'one that fails besides those that stall is replaced');
  only.calls[2]?.give(plain);
  t.equal(await fetch, plain);
  t.equal(only.calls[0]?.signal.aborted, true);
});

t.test('failover: of several that are away, the one that may be asked first counts', async (t) => {
  const busy = {
    fetchFrame: () => Promise.reject(busyError(60_000)),
    toString: () => 'busy',
  };
  const gone = new ScriptedFrames('gone', 'unavailable');
  const failover = new FailoverFrames([busy, gone], new ManualClock());
  const error = await failover.fetchFrame(frame, never).catch((thrown: unknown) => thrown);
  t.match(error, { message: 'gone: unavailable' });
});

t.test('gated: nothing is asked for again before the server said', async (t) => {
  const clock = new ManualClock();
  let asked = 0;
  const busy = {
    fetchFrame: () => {
      asked += 1;
      return asked === 1 ? Promise.reject(busyError(5000)) : Promise.resolve(plain);
    },
    toString: () => 'busy',
  };
  const gated = new GatedFrames(busy, new SourceHealth('busy', clock), clock);
  for (let tries = 0; tries < 3; tries++) {
    await failsWith(t, 'unavailable', gated.fetchFrame(frame, never));
  }
  t.equal(asked, 1);
  t.equal(await gated.fetchFrame(frameAt(1), never), plain, 'other frames are not meant');
  clock.pass(5000);
  t.equal(await gated.fetchFrame(frame, never), plain);
});

t.test('gated: of a source that is down one at a time asks whether it is back', async (t) => {
  const clock = new ManualClock();
  const origin = new ScriptedFrames('origin', 'unavailable');
  const health = new SourceHealth('origin', clock);
  const gated = new GatedFrames(origin, health, clock);
  for (let failed = 0; failed < 4; failed++) {
    await failsWith(t, 'unavailable', gated.fetchFrame(frameAt(failed), never));
  }
  t.match(health.report(), { state: 'down', failuresInARow: 4 });
  await failsWith(t, 'unavailable', gated.fetchFrame(frame, never));
  t.equal(origin.calls.length, 4, 'not at once');
  clock.pass(1000);
  origin.script('wait');
  const probe = gated.fetchFrame(frame, never);
  await failsWith(t, 'unavailable', gated.fetchFrame(frameAt(1), never));
  t.equal(origin.calls.length, 5);
  origin.calls[4]?.give(plain);
  await probe;
  t.equal(health.report().state, 'up');
  origin.script(plain);
  t.equal(await gated.fetchFrame(frameAt(1), never), plain);
});

t.test('gated: a probe that hangs or is given up keeps nobody from asking', async (t) => {
  const clock = new ManualClock();
  const origin = new ScriptedFrames('origin', 'unavailable');
  const gated = new GatedFrames(origin, new SourceHealth('origin', clock), clock);
  for (let failed = 0; failed < 4; failed++) {
    await failsWith(t, 'unavailable', gated.fetchFrame(frameAt(failed), never));
  }
  origin.script('wait');
  clock.pass(1000);
  const abort = new AbortController();
  const given = gated.fetchFrame(frame, abort.signal);
  abort.abort();
  await failsWith(t, 'canceled', given);
  const hanging = gated.fetchFrame(frame, never);
  t.equal(origin.calls.length, 6);
  clock.pass(2000);
  origin.script(plain);
  t.equal(await gated.fetchFrame(frame, never), plain);
  origin.calls[5]?.give(plain);
  t.equal(await hanging, plain);
});

t.test('gated: what a source has not got, or refuses, does not take it down', async (t) => {
  for (const code of ['not-found', 'denied', 'corrupt'] as const) {
    const origin = new ScriptedFrames('origin', code);
    const clock = new ManualClock();
    const health = new SourceHealth('origin', clock);
    const gated = new GatedFrames(origin, health, clock);
    for (let failed = 0; failed < 10; failed++) {
      await failsWith(t, code, gated.fetchFrame(frame, never));
    }
    t.match(health.report(), { state: 'up', failuresInARow: 0 });
  }
});

function patience(deadlineMs: number, clock = new ManualClock()) {
  const health = new SourceHealth('origin', clock);
  return { healths: [health], deadlineMs, clock };
}

t.test('patient: an outage is waited for', async (t) => {
  const clock = new ManualClock();
  const origin = new ScriptedFrames('origin', 'unavailable', 'denied', plain);
  const patient = new PatientFrames(origin, patience(60_000, clock));
  const fetch = patient.fetchFrame(frame, never);
  for (let failed = 0; failed < 2; failed++) {
    await clock.asleep(1);
    t.ok(patient.trouble);
    clock.pass(2000);
  }
  t.equal(await fetch, plain);
  t.equal(patient.trouble, undefined);
});

t.test('patient: not beyond the deadline', async (t) => {
  const clock = new ManualClock();
  const origin = new ScriptedFrames('origin', 'unavailable');
  const fetch = new PatientFrames(origin, patience(20_000, clock)).fetchFrame(frame, never);
  const failed = failsWith(t, 'unavailable', fetch);
  for (let waited = 0; waited < 20_000; waited += 1000) {
    await clock.asleep(1);
    clock.pass(1000);
  }
  await failed;
  t.ok(origin.calls.length >= 20, `${origin.calls.length} tries`);
  const atOnce = new PatientFrames(origin, patience(0, clock)).fetchFrame(frame, never);
  await failsWith(t, 'unavailable', atOnce);
});

t.test('patient: other answers are not asked for again', async (t) => {
  for (const code of ['not-found', 'corrupt', 'invalid'] as const) {
    const origin = new ScriptedFrames('origin', code);
    const patient = new PatientFrames(origin, patience(60_000));
    await failsWith(t, code, patient.fetchFrame(frame, never));
    t.equal(origin.calls.length, 1);
  }
});

t.test('patient: all try again as soon as the source answers anybody', async (t) => {
  const options = patience(600_000);
  const [health = new SourceHealth('none')] = options.healths;
  const origin = new ScriptedFrames('origin', 'unavailable');
  const patient = new PatientFrames(origin, options);
  const waiting = [0, 1, 2].map((at) => patient.fetchFrame(frameAt(at), never));
  await options.clock.asleep(3);
  origin.script(plain);
  health.answered();
  t.strictSame(await Promise.all(waiting), [plain, plain, plain], 'no time has passed');
});

t.test('patient: a waiter may give up', async (t) => {
  const options = patience(600_000);
  const origin = new ScriptedFrames('origin', 'unavailable');
  const abort = new AbortController();
  const fetch = new PatientFrames(origin, options).fetchFrame(frame, abort.signal);
  await options.clock.asleep(1);
  abort.abort();
  await failsWith(t, 'canceled', fetch);
});

function busyError(milliseconds: number): ThinError {
  return new ThinError('unavailable', 'busy', { cause: new RetryAfter(milliseconds) });
}
