import { LRUCache } from 'lru-cache';
import type { Frame } from '../chunk/frame.js';
import { isThinError, ThinError } from '../errors.js';
import type { Clock } from './clock.js';
import { type FrameFetchOptions, type FrameSource, frameKey } from './frame-source.js';
import { RetryAfter } from './http-answer.js';
import { askedDelay } from './retry.js';
import { type SourceHealth, watched } from './source-health.js';

/** Milliseconds that a server may ask us to stay away; more is taken for this much. */
const stayAwayMaxMs = 60_000;
/** Frames for which it is remembered. */
const rememberedMax = 1024;

/**
 * Asks only when it makes sense: not before the server said (for that frame), and while the source is
 * down one request at a time. What may not be asked is `unavailable` at once.
 */
export class GatedFrames implements FrameSource {
  readonly #inner: FrameSource;
  readonly #health: SourceHealth;
  readonly #clock: Clock;
  /** By frame: when its source said that it may be asked for again. */
  readonly #notBefore = new LRUCache<string, number>({ max: rememberedMax });

  constructor(inner: FrameSource, health: SourceHealth, clock: Clock) {
    this.#inner = inner;
    this.#health = health;
    this.#clock = clock;
  }

  async fetchFrame(frame: Frame, signal: AbortSignal, options?: FrameFetchOptions) {
    const key = frameKey(frame);
    const wait = (this.#notBefore.get(key) ?? 0) - this.#clock.now();
    if (wait > 0) throw this.#refusal(frame, new RetryAfter(wait));
    if (!this.#health.admit()) throw this.#refusal(frame, this.#health.lastError);
    try {
      const fetch = () => this.#inner.fetchFrame(frame, signal, options);
      return await watched(this.#health, signal, fetch);
    } catch (error) {
      const asked = isThinError(error) ? askedDelay(error) : 0;
      if (asked > 0) this.#notBefore.set(key, this.#clock.now() + Math.min(asked, stayAwayMaxMs));
      throw error;
    }
  }

  #refusal(frame: Frame, cause: Error | undefined): ThinError {
    const what = `Cannot fetch frame at ${frame.offset} of ${frame.pack} from ${this}`;
    const why = cause instanceof RetryAfter ? cause.message : 'it does not answer now';
    return new ThinError('unavailable', `${what}: ${why}`, { cause });
  }

  toString(): string {
    return this.#inner.toString();
  }
}
