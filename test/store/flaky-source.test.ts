import { setMaxListeners } from 'node:events';
import t, { type Test } from 'tap';
import { until } from '../../scripts/until.js';
import type { Frame } from '../../src/chunk/frame.js';
import { digestOf } from '../../src/digest.js';
import { describeError } from '../../src/errors.js';
import { fetchesInFlightMax } from '../../src/store/fetch-slots.js';
import { frameSource } from '../../src/store/frame-source.js';
import { openStore } from '../../src/store/open-store.js';
import { type Answer, type Received, type Script, startHostile } from '../support/hostile-http.js';
import { never } from './store-suite.js';

const frameBytes = 4096;
const frameCount = 300;
const pack = pseudoRandom(frameBytes * frameCount, 7);
const digest = digestOf(pack);

/** Stored frames, side by side in one pack. */
function frameAt(index: number): Frame {
  return {
    pack: digest,
    offset: index * frameBytes,
    length: frameBytes,
    plainLength: frameBytes,
    codec: 'stored',
  };
}

const plainOf = (index: number) => pack.subarray(index * frameBytes, (index + 1) * frameBytes);

function rightAnswer({ headers }: Received): Answer {
  const [, first = '0', last = '0'] = /bytes=(\d+)-(\d+)/.exec(headers.range ?? '') ?? [];
  const body = pack.subarray(Number(first), Number(last) + 1);
  const range = `bytes ${first}-${last}/${pack.length}`;
  return { status: 206, headers: { 'content-range': range }, body };
}

/** A source of the pack's frames whose servers play the scripts. */
async function flakySource(t: Test, scripts: readonly Script[], kind: 'web' | 'registry' = 'web') {
  const stores = [];
  const servers = [];
  for (const script of scripts) {
    const server = await startHostile(t, script);
    const location = kind === 'web' ? `${server.origin}/` : `${server.host}/team/app`;
    const opened = await openStore(location, { registry: { credentials: 'anonymous' } }, never);
    t.teardown(() => opened[Symbol.asyncDispose]());
    servers.push(server);
    stores.push(opened.store);
  }
  const packSize = () => pack.length;
  return { source: frameSource({ stores, packSize, deadlineMs: 60_000 }), servers };
}

/** Three in ten requests go wrong, one way or another. */
function oftenWrong(): Script {
  const random = lottery(11);
  return (request) => {
    const lot = random();
    const right = rightAnswer(request);
    if (lot < 0.1) return { status: 500 };
    if (lot < 0.15) return { status: 503, headers: { 'retry-after': '0' } };
    if (lot < 0.2) return { ...right, misdeed: { kind: 'reset', after: 100 } };
    if (lot < 0.25) return { ...right, misdeed: { kind: 'reset', after: 0 } };
    if (lot < 0.28) return { ...right, misdeed: { kind: 'stall', after: 1000 } };
    if (lot < 0.3) return { status: 206, misdeed: { kind: 'silent' } };
    return right;
  };
}

for (const kind of ['web', 'registry'] as const) {
  t.test(`a third of all requests fails: every frame comes, and right (${kind})`, async (t) => {
    const { source, servers } = await flakySource(t, [oftenWrong()], kind);
    const indexes = Array.from({ length: frameCount }, (_, index) => index);
    const frames = await Promise.all(
      indexes.map((index) => source.fetchFrame(frameAt(index), never)),
    );
    t.ok(indexes.every((index) => frames[index]?.equals(plainOf(index))));
    const [counts] = source.counts();
    t.ok(counts && counts.failures > frameCount / 10, `${counts?.failures} failures`);
    const requests = servers[0]?.received.length ?? 0;
    t.ok(requests < 2 * frameCount, `${requests} requests for ${frameCount} frames`);
  });
}

t.test('what a server asks for is kept', async (t) => {
  const asked: number[] = [];
  const script: Script = (request, nth) => {
    asked.push(performance.now());
    return nth === 0 ? { status: 429, headers: { 'retry-after': '1' } } : rightAnswer(request);
  };
  const { source } = await flakySource(t, [script]);
  const fetch = source.fetchFrame(frameAt(0), never);
  await Promise.all([fetch, source.fetchFrame(frameAt(1), never)]);
  const [first = 0, , third = 0] = asked;
  t.ok(third - first >= 990, `asked again after ${third - first} ms`);
});

t.test('a server that drips is left for one that does not, and it asked anew', async (t) => {
  const drip: Script = (request) => ({
    ...rightAnswer(request),
    misdeed: { kind: 'drip', ms: 300 },
  });
  const both = await flakySource(t, [drip, rightAnswer]);
  t.ok((await both.source.fetchFrame(frameAt(0), never)).equals(plainOf(0)));
  const dripsOnce: Script = (request, nth) =>
    nth === 0 ? drip(request, nth) : rightAnswer(request);
  const only = await flakySource(t, [dripsOnce]);
  t.ok((await only.source.fetchFrame(frameAt(1), never)).equals(plainOf(1)));
  t.equal(only.servers[0]?.received.length, 2);
});

t.test('a server that drips for ever has few connections, and is given up each time', async (t) => {
  const { source, servers } = await flakySource(t, [
    (request) => ({ ...rightAnswer(request), misdeed: { kind: 'drip', ms: 1000 } }),
  ]);
  const abort = new AbortController();
  setMaxListeners(0, abort.signal);
  const fetches = Array.from({ length: 100 }, (_, index) =>
    source.fetchFrame(frameAt(index), abort.signal).catch(() => 'given up'),
  );
  let most = 0;
  // Counted before it is told: what is under way goes by the counts, why readers wait comes later.
  await until('one is given up', () => {
    const { requests = 0, failures = 0 } = source.counts()[0] ?? {};
    most = Math.max(most, requests - failures);
    return /next to nothing comes/.test(describeError(source.trouble()));
  });
  t.ok(most <= fetchesInFlightMax, `${most} requests at a time`);
  t.ok(most > 1, 'and more than one');
  t.ok(servers[0]?.received.length);
  abort.abort();
  t.ok((await Promise.all(fetches)).every((outcome) => outcome === 'given up'));
});

/** Numbers from 0 to 1, the same for the same seed. */
function lottery(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

function pseudoRandom(length: number, seed: number): Buffer {
  const random = lottery(seed);
  return Buffer.from(Array.from({ length }, () => Math.floor(256 * random())));
}
