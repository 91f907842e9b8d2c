import t from 'tap';
import { BoundedFrames } from '../../src/store/bounded-frames.js';
import { FailoverFrames } from '../../src/store/failover-frames.js';
import { PatientFrames } from '../../src/store/patient-frames.js';
import { SingleFlightFrames } from '../../src/store/single-flight-frames.js';
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
  const flights = new SingleFlightFrames(new BoundedFrames(origin));
  const all: Promise<Buffer>[] = [];
  const fetch = (offset: number, background: boolean) =>
    all.push(flights.fetchFrame(frameAt(offset), never, { background }));
  for (let at = 0; at < 16; at++) fetch(at, true);
  t.equal(origin.calls.length, 16, 'as many as may fly');
  fetch(100, true);
  fetch(101, true);
  fetch(102, false);
  fetch(101, false);
  t.equal(origin.calls.length, 16, 'the others wait');
  for (let landed = 0; landed < all.length - 1; landed++) {
    await origin.called(landed + 1);
    origin.calls[landed]?.give(plain);
  }
  await Promise.all(all);
  const order = origin.calls.slice(16).map((call) => call.frame.offset);
  t.strictSame(order, [101, 102, 100], '101 became urgent while it waited');
});

t.test('bounded: one that gives up in the queue leaves its place', async (t) => {
  const origin = new ScriptedFrames('origin', 'wait');
  const bounded = new BoundedFrames(origin);
  const flying = Array.from({ length: 16 }, (_, at) => bounded.fetchFrame(frameAt(at), never));
  const abort = new AbortController();
  const queued = bounded.fetchFrame(frame, abort.signal);
  await failsWith(t, 'canceled', bounded.fetchFrame(frame, AbortSignal.abort()));
  abort.abort();
  await failsWith(t, 'canceled', queued);
  for (const call of origin.calls) call.give(plain);
  await Promise.all(flying);
  origin.script(plain);
  const again = Array.from({ length: 16 }, () => bounded.fetchFrame(frame, never));
  t.strictSame(await Promise.all(again), Array(16).fill(plain), 'all places are free again');
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

t.test('patient: an outage is waited for', async (t) => {
  const clock = new ManualClock();
  const origin = new ScriptedFrames('origin', 'unavailable', 'unavailable', plain);
  const fetch = new PatientFrames(origin, 60_000, clock).fetchFrame(frame, never);
  for (let failed = 0; failed < 2; failed++) {
    await clock.asleep(1);
    clock.pass(1000);
  }
  t.equal(await fetch, plain);
});

t.test('patient: not beyond the deadline', async (t) => {
  const clock = new ManualClock();
  const origin = new ScriptedFrames('origin', 'unavailable');
  const fetch = new PatientFrames(origin, 20_000, clock).fetchFrame(frame, never);
  const failed = failsWith(t, 'unavailable', fetch);
  for (let waited = 0; waited < 20_000; waited += 5000) {
    await clock.asleep(1);
    clock.pass(5000);
  }
  await failed;
  t.ok(origin.calls.length >= 5, `${origin.calls.length} tries`);
  const atOnce = new PatientFrames(origin, 0, clock).fetchFrame(frame, never);
  await failsWith(t, 'unavailable', atOnce);
});

t.test('patient: other answers are not asked for again', async (t) => {
  for (const code of ['not-found', 'denied', 'corrupt'] as const) {
    const origin = new ScriptedFrames('origin', code);
    const patient = new PatientFrames(origin, 60_000, new ManualClock());
    await failsWith(t, code, patient.fetchFrame(frame, never));
    t.equal(origin.calls.length, 1);
  }
});

t.test('patient: all try again as soon as one frame comes', async (t) => {
  const clock = new ManualClock();
  const origin = new ScriptedFrames('origin', 'unavailable');
  const patient = new PatientFrames(origin, 600_000, clock);
  const waiting = [0, 1, 2].map((at) => patient.fetchFrame(frameAt(at), never));
  await clock.asleep(3);
  origin.script(plain);
  t.equal(await patient.fetchFrame(frame, never), plain);
  t.strictSame(await Promise.all(waiting), [plain, plain, plain], 'no time has passed');
});

t.test('patient: a waiter may give up', async (t) => {
  const clock = new ManualClock();
  const origin = new ScriptedFrames('origin', 'unavailable');
  const abort = new AbortController();
  const fetch = new PatientFrames(origin, 600_000, clock).fetchFrame(frame, abort.signal);
  await clock.asleep(1);
  abort.abort();
  await failsWith(t, 'canceled', fetch);
});
