import type { Frame } from '../chunk/frame.js';
import type { Digest } from '../digest.js';
import type { ThinError } from '../errors.js';
import { BoundedFrames } from './bounded-frames.js';
import { type Clock, systemClock } from './clock.js';
import { CountedFrames, type FetchCounts, fetchCounts } from './counted-frames.js';
import { FailoverFrames } from './failover-frames.js';
import { fetchRun, paced, type RunOptions } from './frame-run.js';
import { GatedFrames } from './gated-frames.js';
import { OriginFrames } from './origin-frames.js';
import { type Bandwidth, PacedFrames } from './paced-frames.js';
import { PatientFrames } from './patient-frames.js';
import { SingleFlightFrames } from './single-flight-frames.js';
import { healthOf } from './source-health.js';
import type { Store } from './store.js';

export interface FrameFetchOptions {
  /** What was fetched before was wrong: pass caches, and ask another source first if there is one. */
  readonly fresh?: boolean | undefined;
  /** Nobody waits for it: whatever somebody waits for goes first. */
  readonly background?: boolean | undefined;
  /**
   * Told when it takes suspiciously long, so that it can be asked for elsewhere besides: before the
   * source was `asked`, as others are in the way, or while nothing comes. May be called repeatedly.
   */
  readonly onStall?: ((where: 'queued' | 'asked') => void) | undefined;
  /** Given the frame as it came, compressed, when its plain bytes are at hand. */
  readonly onWire?: ((bytes: Buffer) => void) | undefined;
  /**
   * Whether plain bytes are what the frame should be, for sources that others write to: without it
   * they are not asked.
   */
  readonly isSound?: ((plain: Buffer) => boolean) | undefined;
}

/** Where decoded frames come from. One policy each is added by a wrapper; {@link frameSource} stacks them. */
export interface FrameSource {
  /**
   * The plain bytes of a frame, `frame.plainLength` of them; whether its chunks are what they should
   * be is for the caller to check, who has their digests.
   * @throws ThinError `not-found`, `denied`, `unavailable`, `corrupt`, `canceled`
   */
  fetchFrame(frame: Frame, signal: AbortSignal, options?: FrameFetchOptions): Promise<Buffer>;
  toString(): string;
}

export interface FrameSourceOptions {
  /** Asked in this order: the nearest first. */
  readonly stores: readonly Store[];
  /** Bytes of a pack; undefined for one that is not known. */
  readonly packSize: (pack: Digest) => number | undefined;
  /**
   * Milliseconds for which a frame that no store can give now is asked for again, unless the
   * caller gives up before; Infinity: until it does; 0: not at all.
   */
  readonly deadlineMs: number;
  /** Of all background work of the node; unlimited if not given. */
  readonly bandwidth?: Bandwidth | undefined;
  readonly clock?: Clock | undefined;
}

/** How a source's host answers, as far as it was measured. */
export interface LinkReport {
  /** Milliseconds from a request to the first byte. */
  readonly roundTripMs: number | undefined;
  /** Bytes a second of all requests together. */
  readonly bytesPerSecond: number | undefined;
}

export interface CountedFrameSource extends FrameSource {
  /**
   * Frames of one pack by one request, each told when it has come. Not repeated when it fails.
   * @param frames ascending
   */
  fetchRun(frames: readonly Frame[], signal: AbortSignal, options: RunOptions): Promise<void>;
  link(): LinkReport;
  /** What each store was asked for and gave, in the order of the stores. */
  counts(): readonly FetchCounts[];
  /** Why fetches wait now; undefined if none does. */
  trouble(): ThinError | undefined;
}

/** The stack that every read of a frame goes through, outermost last. */
export function frameSource(options: FrameSourceOptions): CountedFrameSource {
  const { packSize, deadlineMs, clock = systemClock } = options;
  const stores = options.stores.map((store) => ({
    store,
    counts: fetchCounts(store.toString()),
    health: healthOf(store, clock),
  }));
  const sources = stores.map(({ store, counts, health }): FrameSource => {
    const origin = new OriginFrames(store, { packSize, health, once: deadlineMs > 0 });
    const counted = new CountedFrames(origin, counts);
    const gated = new GatedFrames(counted, health, clock);
    return new BoundedFrames(gated, health.slots);
  });
  const failover = new FailoverFrames(sources, clock);
  const healths = stores.map(({ health }) => health);
  const { bandwidth } = options;
  const shared = bandwidth ? new PacedFrames(failover, bandwidth, clock) : failover;
  const patient = new PatientFrames(shared, { healths, deadlineMs, clock });
  const flights = new SingleFlightFrames(patient);
  return {
    fetchFrame: (frame, signal, fetchOptions) => flights.fetchFrame(frame, signal, fetchOptions),
    fetchRun: async (frames, signal, runOptions) => {
      const [first] = frames;
      const size = first && packSize(first.pack);
      const source = stores.find(({ health }) => !health.down) ?? stores[0];
      if (!first || size === undefined || !source) return;
      const bytes = frames.reduce((sum, { length }) => sum + length, 0);
      await paced(bandwidth, bytes, clock, signal, runOptions);
      await fetchRun(source, { digest: first.pack, size }, frames, signal, runOptions);
    },
    link: () => ({
      roundTripMs: healths[0]?.roundTripMinMs,
      bytesPerSecond: healths[0]?.linkBytesPerSecond,
    }),
    counts: () => stores.map(({ counts }) => counts),
    trouble: () => patient.trouble,
    toString: () => flights.toString(),
  };
}

/** Names a frame among all frames. */
export function frameKey(frame: Frame): string {
  return `${frame.pack} ${frame.offset} ${frame.length}`;
}
