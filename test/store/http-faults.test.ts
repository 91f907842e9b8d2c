import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import t, { type Test } from 'tap';
import { digestOf } from '../../src/digest.js';
import { readRange } from '../../src/store/byte-stream.js';
import { type Clock, systemClock } from '../../src/store/clock.js';
import { RetryAfter, retryDelay } from '../../src/store/http-answer.js';
import { progressing, sliced } from '../../src/store/http-body.js';
import { HttpObjects } from '../../src/store/http-objects.js';
import { layoutStore } from '../../src/store/layout-store.js';
import { RetryingStore } from '../../src/store/retrying-store.js';
import type { Store } from '../../src/store/store.js';
import { ManualClock } from './manual-clock.js';
import { failsWith, never, readAll } from './store-suite.js';

const bytes = Buffer.from(Array.from({ length: 1000 }, (_, at) => at % 251));
const blob = { digest: digestOf(bytes), size: bytes.length };
/** What is read in each of these tests: bytes 100 to 200. */
const wanted = bytes.subarray(100, 200);
const read = (store: Store) => readRange(store, blob, 100, 100, never);

async function serve(t: Test, listener: RequestListener): Promise<Server & { url: string }> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return Object.assign(server, { url: `http://127.0.0.1:${address.port}` });
}

/** Milliseconds, where silence is not what is tried: a busy machine is no silent server. */
const patientMs = 60_000;

function storeAt(t: Test, url: string, silenceMaxMs = patientMs): Store {
  const http = new HttpObjects(url, { silenceMaxMs });
  t.teardown(() => http[Symbol.asyncDispose]());
  return layoutStore(http);
}

/** A store of a server that gives every request the same answer. */
async function answered(
  t: Test,
  listener: RequestListener,
  silenceMaxMs = patientMs,
): Promise<Store> {
  const { url } = await serve(t, listener);
  return storeAt(t, url, silenceMaxMs);
}

t.test('answers that are not the range', async (t) => {
  const ranges: Record<string, string | undefined> = {
    'shifted by one': 'bytes 101-200/1000',
    shorter: 'bytes 100-198/1000',
    longer: 'bytes 100-200/1000',
    'of another size': 'bytes 100-199/1001',
    'of no unit': '100-199/1000',
    missing: undefined,
  };
  for (const [what, range] of Object.entries(ranges)) {
    const store = await answered(t, (_, answer) => {
      answer.writeHead(206, range === undefined ? {} : { 'content-range': range }).end(wanted);
    });
    await failsWith(t, 'corrupt', read(store));
    t.pass(what);
  }
});

t.test('several parts at once are refused', async (t) => {
  const store = await answered(t, (_, answer) => {
    answer.writeHead(206, { 'content-type': 'multipart/byteranges; boundary=x' }).end('--x--');
  });
  await failsWith(t, 'corrupt', read(store));
});

t.test('a body of another length than the range says', async (t) => {
  const right = { 'content-range': 'bytes 100-199/1000' };
  const longer = await answered(t, (_, answer) => {
    answer.writeHead(206, right).end(bytes.subarray(100, 201));
  });
  t.ok((await read(longer)).equals(wanted), 'what is beyond is not taken');
  const shorter = await answered(t, (_, answer) => {
    answer.writeHead(206, right).end(bytes.subarray(100, 199));
  });
  await failsWith(t, 'unavailable', read(shorter));
  const cut = await answered(t, (_, answer) => {
    answer.writeHead(206, { ...right, 'content-length': 100 }).write(bytes.subarray(100, 150));
    setImmediate(() => answer.destroy());
  });
  await failsWith(t, 'unavailable', read(cut));
});

t.test('a whole answer is used from the offset on', async (t) => {
  const chunked = await answered(t, (_, answer) => {
    for (let at = 0; at < bytes.length; at += 7) answer.write(bytes.subarray(at, at + 7));
    answer.end();
  });
  t.ok((await read(chunked)).equals(wanted));
  t.ok((await readAll(chunked, blob)).equals(bytes));
  const ofAnotherSize = await answered(t, (_, answer) => answer.end(bytes.subarray(0, 999)));
  await failsWith(t, 'corrupt', read(ofAnotherSize));
  const endless = await answered(t, (_, answer) => {
    const more = () => answer.destroyed || answer.write(bytes, more);
    more();
  });
  t.ok((await read(endless)).equals(wanted), 'and no further than is needed');
});

t.test('too much is not skipped', async (t) => {
  const source = (async function* () {
    yield bytes;
  })();
  const far = 2 ** 30;
  const reading = async () => {
    for await (const _ of sliced(source, far, 10, 'x')) t.fail('nothing comes');
  };
  await failsWith(t, 'unavailable', reading());
});

t.test('an encoded body is refused', async (t) => {
  const store = await answered(t, (_, answer) => {
    answer.writeHead(200, { 'content-encoding': 'gzip' }).end(bytes);
  });
  await failsWith(t, 'unavailable', read(store));
});

t.test('what each status means', async (t) => {
  const codes = {
    401: 'denied',
    403: 'denied',
    404: 'not-found',
    410: 'not-found',
    416: 'corrupt',
    429: 'unavailable',
    500: 'unavailable',
    503: 'unavailable',
    204: 'unavailable',
  } as const;
  for (const [status, code] of Object.entries(codes)) {
    const store = await answered(t, (_, answer) => answer.writeHead(Number(status)).end());
    await failsWith(t, code, read(store));
    const expected = code === 'not-found' ? [] : code;
    if (typeof expected === 'string') await failsWith(t, expected, store.tagged('a', 'b', never));
    else t.strictSame(await store.tagged('a', 'b', never), expected);
  }
});

t.test('the time that a server asks for is kept', async (t) => {
  const store = await answered(t, (_, answer) => {
    answer.writeHead(429, { 'retry-after': '17' }).end();
  });
  const error = await read(store).catch((error: unknown) => error);
  t.match(error, { code: 'unavailable', cause: new RetryAfter(17_000) });
  const now = Date.parse('2026-01-01T00:00:00Z');
  t.equal(retryDelay('Thu, 01 Jan 2026 00:01:00 GMT', now), 60_000);
  t.equal(retryDelay('Thu, 01 Jan 1970 00:00:00 GMT', now), 0);
  for (const nonsense of ['soon', '-5', '', undefined, ['1', '2'], '1e400']) {
    t.equal(retryDelay(nonsense, now), undefined);
  }
});

t.test('a refused connection, silence, and silence midway', async (t) => {
  const { url } = await serve(t, () => {});
  await failsWith(t, 'unavailable', read(storeAt(t, url, 200)));
  const stops: RequestListener = (_, answer) => {
    answer.writeHead(206, { 'content-range': 'bytes 100-199/1000', 'content-length': 100 });
    answer.write(bytes.subarray(100, 110));
  };
  const midway = await answered(t, stops, 200);
  await failsWith(t, 'unavailable', read(midway));
  await failsWith(t, 'unavailable', read(storeAt(t, 'http://127.0.0.1:1')));
});

t.test('a connection that trickles is given up', async (t) => {
  const clock = new ManualClock();
  const trickle = (async function* () {
    for (let at = 0; at < 1000; at++) {
      clock.pass(1000);
      yield bytes.subarray(at, at + 1);
    }
  })();
  let came = 0;
  const reading = async () => {
    for await (const piece of progressing(trickle, 'x', () => clock.now())) came += piece.length;
  };
  await failsWith(t, 'unavailable', reading());
  t.equal(came, 19, 'after the 20 seconds of the window');
});

t.test('a reader that takes its time is not the fault of the server', async (t) => {
  const clock = new ManualClock();
  const source = (async function* () {
    for (let at = 0; at < 100; at++) yield bytes.subarray(at, at + 1);
  })();
  let came = 0;
  for await (const piece of progressing(source, 'x', () => clock.now())) {
    came += piece.length;
    clock.pass(60_000);
  }
  t.equal(came, 100);
});

t.test('credentials go to their own host and no further', async (t) => {
  const seen: (string | undefined)[] = [];
  const elsewhere = await serve(t, (request, answer) => {
    seen.push(request.headers.authorization);
    answer.writeHead(206, { 'content-range': 'bytes 100-199/1000' }).end(wanted);
  });
  const own = await serve(t, (request, answer) => {
    seen.push(request.headers.authorization);
    answer.writeHead(307, { location: `${elsewhere.url}/x` }).end();
  });
  const store = storeAt(t, own.url.replace('//', '//user:pass%20word@'));
  t.ok((await read(store)).equals(wanted));
  const basic = `Basic ${Buffer.from('user:pass word').toString('base64')}`;
  t.strictSame(seen, [basic, undefined]);
});

t.test('redirects end', async (t) => {
  const { url } = await serve(t, (request, answer) => {
    answer.writeHead(302, { location: `${request.url}x` }).end();
  });
  await failsWith(t, 'unavailable', read(storeAt(t, url)));
  for (const location of ['file:///etc/passwd', 'http://[', '']) {
    const store = await answered(t, (_, answer) => answer.writeHead(302, { location }).end());
    await failsWith(t, ['unavailable', 'invalid'], read(store));
  }
});

t.test('a large ref is not read to its end', async (t) => {
  const store = await answered(t, (_, answer) => {
    const more = () => answer.destroyed || answer.write(Buffer.alloc(65_536), more);
    more();
  });
  await failsWith(t, 'corrupt', store.tagged('a', 'b', never));
});

t.test('the query of a location goes with every request, past caches when asked', async (t) => {
  const seen: [string | undefined, string | undefined][] = [];
  const { url } = await serve(t, (request, answer) => {
    seen.push([request.url, request.headers['cache-control']]);
    answer.end(bytes);
  });
  const store = storeAt(t, `${url}/base?signature=x%2Fy`);
  await read(store);
  await readRange(store, blob, 0, 1, never, { fresh: true });
  const path = `/base/blobs/sha256/${blob.digest.slice(7)}?signature=x%2Fy`;
  t.strictSame(seen, [
    [path, undefined],
    [path, 'no-cache'],
  ]);
});

t.test('retries go on where the stream broke, and end', async (t) => {
  const starts: number[] = [];
  const { url } = await serve(t, (request, answer) => {
    const [, from = '0', to = '0'] = /bytes=(\d+)-(\d+)/.exec(request.headers.range ?? '') ?? [];
    starts.push(Number(from));
    const part = bytes.subarray(Number(from), Number(to) + 1);
    const range = `bytes ${from}-${to}/1000`;
    answer.writeHead(206, { 'content-range': range, 'content-length': part.length });
    answer.write(part.subarray(0, 30), () => part.length > 30 && answer.destroy());
    if (part.length <= 30) answer.end();
  });
  const clock: Clock = { now: systemClock.now, sleep: async () => {} };
  const store = new RetryingStore(storeAt(t, url), clock);
  t.ok((await read(store)).equals(wanted));
  t.strictSame(starts, [100, 130, 160, 190]);
  let asked = 0;
  const down = await serve(t, (_, answer) => {
    asked += 1;
    answer.writeHead(500).end();
  });
  const failing = new RetryingStore(storeAt(t, down.url), clock);
  await failsWith(t, 'unavailable', read(failing));
  await failsWith(t, 'unavailable', failing.tagged('a', 'b', never));
  t.equal(asked, 8, 'four times each');
});
