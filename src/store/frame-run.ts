import { decodeFrame } from '../chunk/codec.js';
import type { Frame } from '../chunk/frame.js';
import { ThinError } from '../errors.js';
import type { Clock } from './clock.js';
import type { FetchCounts } from './counted-frames.js';
import type { Bandwidth } from './paced-frames.js';
import { type SourceHealth, watched } from './source-health.js';
import { StallWatch } from './stall-watch.js';
import type { Blob, Store } from './store.js';
import { storeError } from './store-error.js';

/** Milliseconds between looks whether there is bandwidth left for it. */
const lookMs = 50;

export interface RunOptions {
  /** Looked at again and again: somebody may begin to wait for one of the frames. */
  readonly background: boolean;
  /** Told of each frame once all its bytes are here, in the order of the pack. */
  readonly onFrame: (frame: Frame, plain: Promise<Buffer>) => void;
  /**
   * Tells whether plain bytes are what a frame should be, for sources that others write to;
   * undefined for a frame of which that is not known.
   */
  readonly checkOf?: ((frame: Frame) => ((plain: Buffer) => boolean) | undefined) | undefined;
}

/** What a run is asked of. */
export interface RunSource {
  readonly store: Store;
  readonly health: SourceHealth;
  readonly counts: FetchCounts;
}

/**
 * Frames of one pack by one request, those between them left unused. No second attempt is made, and
 * no other source asked: what has not come is to be asked for frame by frame.
 * @param frames ascending, without overlaps
 * @param pack that all of them are in
 * @throws ThinError `unavailable` also when almost nothing comes; what the store throws
 */
export async function fetchRun(
  { store, health, counts }: RunSource,
  pack: Blob,
  frames: readonly Frame[],
  signal: AbortSignal,
  options: RunOptions,
): Promise<void> {
  const [first, last] = [frames[0], frames.at(-1)];
  if (!first || !last) return;
  if (!health.admit()) throw new ThinError('unavailable', `Cannot fetch from ${store}: it is down`);
  const what = `Cannot fetch ${frames.length} frames at ${first.offset} of ${pack.digest} from ${store}`;
  const abort = new AbortController();
  const giveUp = () => abort.abort(signal.reason);
  if (signal.aborted) giveUp();
  signal.addEventListener('abort', giveUp, { once: true });
  counts.requests += 1;
  try {
    const turn = health.slots.take(() => options.background, abort.signal);
    if (turn) await turn;
    try {
      await watched(health, signal, async () => {
        const dead = () => abort.abort(new ThinError('unavailable', `${what}: nothing comes`));
        using watch = new StallWatch(health.roundTripMs, { onStall: dead, onDead: dead });
        const length = last.offset + last.length - first.offset;
        const startedAt = performance.now();
        const fetchOptions = { once: true };
        const bytes = store.openRange(pack, first.offset, length, abort.signal, fetchOptions);
        await cut(health.metered(watch.of(bytes)), first.offset, frames, (frame, packed) => {
          counts.bytes += frame.length;
          counts.plainBytes += frame.plainLength;
          options.onFrame(frame, decodeFrame(frame, packed));
        });
        const { firstByteMs } = watch;
        if (firstByteMs === undefined) return;
        health.measured(firstByteMs, performance.now() - startedAt, length);
      });
    } finally {
      health.slots.release();
    }
  } catch (error) {
    if (!signal.aborted) counts.failures += 1;
    throw storeError(what, abort.signal.aborted ? abort.signal.reason : error, signal);
  } finally {
    signal.removeEventListener('abort', giveUp);
  }
}

/** Hands on each frame when its last byte has come. @throws ThinError `unavailable` if it ends early */
async function cut(
  source: AsyncIterable<Buffer>,
  start: number,
  frames: readonly Frame[],
  onFrame: (frame: Frame, bytes: Buffer) => void,
): Promise<void> {
  let [at, next] = [start, 0];
  let filled = 0;
  let packed: Buffer | undefined;
  for await (const bytes of source) {
    let used = 0;
    for (let frame = frames[next]; frame && used < bytes.length; frame = frames[next]) {
      if (packed === undefined) {
        used = Math.max(used, Math.min(frame.offset - at, bytes.length));
        if (used === bytes.length) break;
        packed = Buffer.allocUnsafeSlow(frame.length);
        filled = 0;
      }
      const copied = bytes.copy(packed, filled, used);
      filled += copied;
      used += copied;
      if (filled < frame.length) break;
      onFrame(frame, packed);
      packed = undefined;
      next += 1;
    }
    at += bytes.length;
  }
  if (next === frames.length) return;
  throw new ThinError(
    'unavailable',
    `Cannot fetch ${frames.length} frames: only ${next} have come`,
  );
}

/** Ends when there is bandwidth for background work, or somebody waits for it. */
export async function paced(
  bandwidth: Bandwidth | undefined,
  bytes: number,
  clock: Clock,
  signal: AbortSignal,
  options: Pick<RunOptions, 'background'>,
): Promise<void> {
  while (bandwidth && options.background && bandwidth.delayMs > 0) {
    try {
      await clock.sleep(Math.min(lookMs, bandwidth.delayMs), signal);
    } catch (error) {
      throw storeError('Cannot fetch frames', error, signal);
    }
  }
  bandwidth?.spend(bytes);
}
