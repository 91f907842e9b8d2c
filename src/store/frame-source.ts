import type { Frame } from '../chunk/frame.js';
import type { Digest } from '../digest.js';
import { BoundedFrames } from './bounded-frames.js';
import { type Clock, systemClock } from './clock.js';
import { CountedFrames, type FetchCounts, fetchCounts } from './counted-frames.js';
import { FailoverFrames } from './failover-frames.js';
import { OriginFrames } from './origin-frames.js';
import { PatientFrames } from './patient-frames.js';
import { SingleFlightFrames } from './single-flight-frames.js';
import type { Store } from './store.js';

export interface FrameFetchOptions {
  /** What was fetched before was wrong: pass caches, and ask another source first if there is one. */
  readonly fresh?: boolean | undefined;
  /** Nobody waits for it: whatever somebody waits for goes first. */
  readonly background?: boolean | undefined;
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
  /** Milliseconds for which a frame that no store can give now is asked for again; 0: not at all. */
  readonly deadlineMs: number;
  readonly clock?: Clock | undefined;
}

export interface CountedFrameSource extends FrameSource {
  /** What each store was asked for and gave, in the order of the stores. */
  counts(): readonly FetchCounts[];
}

/** The stack that every read of a frame goes through, outermost last. */
export function frameSource(options: FrameSourceOptions): CountedFrameSource {
  const { stores, packSize, deadlineMs, clock = systemClock } = options;
  const counts = stores.map((store) => fetchCounts(store.toString()));
  const origins = stores.map((store, index) => {
    const origin = new OriginFrames(store, packSize);
    const counted = new CountedFrames(origin, counts[index] ?? fetchCounts(store.toString()));
    return new BoundedFrames(counted);
  });
  const failover = new FailoverFrames(origins, clock);
  const patient = new PatientFrames(failover, deadlineMs, clock);
  const flights = new SingleFlightFrames(patient);
  return {
    fetchFrame: (frame, signal, fetchOptions) => flights.fetchFrame(frame, signal, fetchOptions),
    counts: () => counts,
    toString: () => flights.toString(),
  };
}

/** Names a frame among all frames. */
export function frameKey(frame: Frame): string {
  return `${frame.pack} ${frame.offset} ${frame.length}`;
}
