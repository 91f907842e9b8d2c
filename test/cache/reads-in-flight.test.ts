import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import t from 'tap';
import type { FileOrigin } from '../../src/cache/file-origin.js';
import { type ReadInFlight, ReadsInFlight } from '../../src/cache/reads-in-flight.js';
import { describeError, ThinError } from '../../src/errors.js';
import { madeUpDigest } from '../thin/made-up-chunks.js';

const origin: FileOrigin = {
  id: 'an image',
  chunksOf: () => undefined,
  placementsIn: () => [],
  fetchFrame: () => Promise.reject(new Error('nobody asks')),
  trouble: () => new ThinError('unavailable', 'the registry is away'),
};
const wanted = { content: madeUpDigest('file'), size: 100, offset: 10, length: 20, origin };
const bytes = Buffer.from('bytes');

t.test('reads are known while they go on, and counted when they end', async (t) => {
  const reads = new ReadsInFlight({});
  const published: unknown[] = [];
  const listen = (message: unknown) => published.push(message);
  subscribe('thinfs:read', listen);
  t.teardown(() => unsubscribe('thinfs:read', listen));
  const { signal } = new AbortController();
  const found = await reads.run(wanted, signal, async () => {
    t.match(reads.list(), [{ ...wanted, since: Number }]);
    return bytes;
  });
  t.equal(found, bytes);
  const failing = () => Promise.reject(new ThinError('corrupt', 'wrong'));
  await t.rejects(reads.run(wanted, signal, failing), { code: 'corrupt' });
  t.strictSame(reads.list(), []);
  t.strictSame(
    [...reads.outcomes],
    [
      ['ok', 1],
      ['corrupt', 1],
    ],
  );
  t.equal(reads.count('an image'), 2);
  t.match(published, [{ outcome: 'ok', milliseconds: Number }, { outcome: 'corrupt' }]);
});

t.test('nobody waits beyond the deadline, though the work hangs', async (t) => {
  const failures: [ThinError, ReadInFlight][] = [];
  const onFailure = (error: ThinError, read: ReadInFlight) => failures.push([error, read]);
  const reads = new ReadsInFlight({ deadlineMs: 5, onFailure });
  let given = new AbortController().signal;
  const read = reads.run(wanted, new AbortController().signal, (signal) => {
    given = signal;
    return new Promise<Buffer>(() => {});
  });
  const error = await read.catch((thrown: unknown) => thrown);
  t.match(error, { code: 'unavailable' });
  t.match(describeError(error), /20 bytes at 10 of file .* in 0\.01 s: the registry is away$/);
  t.ok(given.aborted);
  t.match(failures, [[{ code: 'unavailable' }, { offset: 10 }]]);
});

t.test('a reader that gives up is no failure', async (t) => {
  const failures: ThinError[] = [];
  const reads = new ReadsInFlight({
    deadlineMs: 60_000,
    onFailure: (error) => failures.push(error),
  });
  const abort = new AbortController();
  const read = reads.run(wanted, abort.signal, (signal) => {
    return new Promise<Buffer>((_, reject) => {
      signal.addEventListener('abort', () => reject(new ThinError('canceled', 'given up')));
    });
  });
  abort.abort();
  await t.rejects(read, { code: 'canceled' });
  t.strictSame(failures, []);
  t.strictSame([...reads.outcomes], [['canceled', 1]]);
});
