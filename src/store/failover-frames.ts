import { LRUCache } from 'lru-cache';
import type { Frame } from '../chunk/frame.js';
import type { Clock } from './clock.js';
import { type Candidate, FrameRace } from './frame-race.js';
import { type FrameFetchOptions, type FrameSource, frameKey } from './frame-source.js';

/** Milliseconds for which a source that failed is asked after the others. */
const restMs = 30_000;
/** Frames of which it is remembered who gave them, to be able to ask somebody else. */
const servedMax = 1024;

/**
 * Several sources in order: one that fails or stalls is passed over, and asked last for a while. What
 * is corrupt is asked for once more, past all caches, from another source where there is one.
 */
export class FailoverFrames implements FrameSource {
  readonly #sources: readonly Candidate[];
  readonly #clock: Clock;
  readonly #servedBy = new LRUCache<string, Candidate>({ max: servedMax });

  constructor(sources: readonly FrameSource[], clock: Clock) {
    this.#sources = sources.map((frames) => ({ frames, failedAt: Number.NEGATIVE_INFINITY }));
    this.#clock = clock;
  }

  async fetchFrame(frame: Frame, signal: AbortSignal, options: FrameFetchOptions = {}) {
    const key = frameKey(frame);
    const suspect = options.fresh ? this.#servedBy.get(key) : undefined;
    if (suspect) suspect.failedAt = this.#clock.now();
    const race = new FrameRace(frame, this.#inOrder(), this.#clock);
    const { plain, by } = await race.run(signal, options);
    this.#servedBy.set(key, by);
    return plain;
  }

  /** Those that work first, then those that failed longest ago; otherwise as given. */
  #inOrder(): Candidate[] {
    const now = this.#clock.now();
    const rest = (source: Candidate) =>
      now - source.failedAt < restMs ? source.failedAt : Number.NEGATIVE_INFINITY;
    return [...this.#sources].sort((a, b) => (rest(a) === rest(b) ? 0 : rest(a) - rest(b)));
  }

  toString(): string {
    return this.#sources.map(({ frames }) => frames.toString()).join(', then ');
  }
}
