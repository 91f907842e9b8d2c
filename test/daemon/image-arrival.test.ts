import t, { type Test } from 'tap';
import { ImageArrival, type OnArrival } from '../../src/daemon/image-arrival.js';
import { WholeImages, type WholeImagesParts } from '../../src/daemon/whole-images.js';
import { digestOf } from '../../src/digest.js';
import { ThinError } from '../../src/errors.js';
import type { LayerState } from '../../src/pull/pull-meter.js';
import { until } from '../cli/test-node.js';

/** How a try of bringing an image goes is said by the test. */
interface Try {
  readonly signal: AbortSignal;
  readonly onProgress: OnArrival;
  end(error?: ThinError): void;
}

function rig(t: Test) {
  const tries: Try[] = [];
  const troubles: boolean[] = [];
  const arrival = new ImageArrival((_, again) => void troubles.push(again));
  t.teardown(() => arrival[Symbol.asyncDispose]());
  arrival.begin(
    (signal, onProgress) =>
      new Promise((resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason));
        const end = (error?: ThinError) => (error ? reject(error) : resolve());
        tries.push({ signal, onProgress, end });
      }),
  );
  const nth = async (number: number): Promise<Try> => {
    await until(`try ${number}`, () => tries.length >= number);
    const found = tries[number - 1];
    if (!found) throw new Error('there is no such try');
    return found;
  };
  return { arrival, nth, tries, troubles };
}

/** Of one layer of 100 bytes. */
function tell({ onProgress }: Try, stored: number): void {
  const counts = { downloaded: stored, resumed: 0, lost: 0, plainBytes: 0, writtenBytes: 0 };
  const layer: LayerState = {
    ...{ ...counts, phase: 'downloading', size: 100, stored, tier: undefined },
  };
  const rates = { at: 0, ms: 1, bytes: 0, storedBytes: 0, plainBytes: 0, writtenBytes: 0 };
  const sample = { ...rates, starved: 0, cpu: 0, bottleneck: 'network' } as const;
  onProgress({ layers: [layer], sample }, ['of the layer']);
}

const never = new AbortController().signal;
const denied = new ThinError('denied', 'Cannot bring image: who are you?');

/** Waits for a file until all is here. */
const readAll = (arrival: ImageArrival, ended: string[]) =>
  arrival
    .waitFor(
      (end) =>
        new Promise((_, reject) => {
          end.addEventListener('abort', () => reject(end.reason));
        }),
      never,
    )
    .then(
      () => ended.push('has it'),
      (error: Error) => ended.push(error.message),
    );

t.test('who is denied may be given credentials; a command is told of its own try', async (t) => {
  const { arrival, nth, troubles } = rig(t);
  const ended: string[] = [];
  const reads = readAll(arrival, ended);
  const command = arrival.complete(never, () => undefined);
  command.catch(() => undefined);
  (await nth(1)).end(denied);
  const second = await nth(2); // at once: the first one had begun before the command asked
  t.ok(arrival.isStuck);
  t.match(arrival.status, { state: 'running', reason: denied.message });
  second.end(denied);
  await t.rejects(command, denied);
  t.same(ended, [], 'a read waits on');

  const seen: unknown[] = [];
  const another = arrival.complete(never, (_, digests) => seen.push(digests));
  const third = await nth(3); // not when the pause is over
  tell(third, 50);
  t.match(seen, [['of the layer']]);
  t.notOk(arrival.isStuck);
  third.end();
  await another;
  await reads;
  t.same(ended, ['has it']);
  t.same(troubles, [true, true]);
});

t.test('trouble is over when something has come that had not', async (t) => {
  const { arrival, nth } = rig(t);
  const first = await nth(1);
  tell(first, 40);
  first.end(new ThinError('unavailable', 'Cannot reach it'));
  await until('that is noticed', () => arrival.trouble !== undefined);
  arrival.hurry();
  const second = await nth(2);
  for (const stored of [0, 20, 40]) tell(second, stored);
  t.match(arrival.status, { state: 'running', missingBytes: 60, reason: 'Cannot reach it' });
  tell(second, 41);
  t.equal(arrival.status.reason, undefined);
});

t.test('who reads is not told that the daemon ends', async (t) => {
  const { arrival, nth, troubles } = rig(t);
  const ended: string[] = [];
  const reads = readAll(arrival, ended);
  const { signal } = await nth(1);
  await arrival.stop();
  t.ok(signal.aborted);
  const later = readAll(arrival, ended);
  t.match(arrival.status, { state: 'running' });
  t.same([ended, troubles], [[], []]);
  await arrival[Symbol.asyncDispose]();
  await Promise.all([reads, later]);
  t.match(ended, [/nobody brings it/, /nobody brings it/]);
});

t.test(
  "an image that cannot be removed, or asked for, is in nobody's way at a start",
  async (t) => {
    const unfinished = ['unused', 'used', 'unused too'].map((name) => digestOf(Buffer.from(name)));
    const [unused, used] = unfinished;
    const dropped: string[] = [];
    const tries: Promise<unknown>[] = [];
    const parts = {
      arrivals: { unfinished, forget: async () => undefined },
      images: {
        get: (manifest: string) => ({ manifest, platform: 'linux/amd64', sources: [] }),
        remove: async (manifest: string) => {
          dropped.push(manifest);
          if (manifest === unused) throw new ThinError('denied', 'Cannot remove image');
        },
      },
      pulls: {
        resume: (_: string, read: (signal: AbortSignal) => Promise<unknown>) =>
          tries.push(read(never)),
      },
      log: { warn: () => undefined },
    } as unknown as WholeImagesParts;
    await new WholeImages(parts).resume((manifest) => manifest === used);
    t.same(dropped, [unused, unfinished[2]]);
    t.equal(tries.length, 1);
    for (const read of tries) await t.rejects(read, { code: 'invalid' });
  },
);
