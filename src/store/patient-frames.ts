import type { Frame } from '../chunk/frame.js';
import { isThinError } from '../errors.js';
import type { Clock } from './clock.js';
import type { FrameFetchOptions, FrameSource } from './frame-source.js';
import { RetryAfter } from './http-answer.js';
import { type Backoff, backoffDelay } from './retry.js';
import { storeError } from './store-error.js';

const backoff: Backoff = { delayMs: 100, delayMaxMs: 5000, retryAfterMaxMs: 60_000 };

/**
 * Asks again for what is `unavailable`, until a deadline: an outage makes readers wait, not fail. As
 * soon as any frame comes, all that wait ask again.
 */
export class PatientFrames implements FrameSource {
  readonly #inner: FrameSource;
  readonly #deadlineMs: number;
  readonly #clock: Clock;
  /** Ends the waits of those that sleep now. */
  readonly #wakers = new Set<() => void>();

  constructor(inner: FrameSource, deadlineMs: number, clock: Clock) {
    this.#inner = inner;
    this.#deadlineMs = deadlineMs;
    this.#clock = clock;
  }

  async fetchFrame(frame: Frame, signal: AbortSignal, options?: FrameFetchOptions) {
    const deadline = this.#clock.now() + this.#deadlineMs;
    for (let failed = 0; ; failed++) {
      try {
        const plain = await this.#inner.fetchFrame(frame, signal, options);
        this.#wake();
        return plain;
      } catch (error) {
        const left = deadline - this.#clock.now();
        if (!isThinError(error, 'unavailable') || left <= 0) throw error;
        const delay = Math.min(left, backoffDelay(backoff, failed, error));
        await this.#sleep(delay, signal, !(error.cause instanceof RetryAfter));
      }
    }
  }

  #wake(): void {
    for (const wake of this.#wakers) wake();
  }

  /** @param wakes whether a frame that comes ends it: not if the server said when to come back */
  async #sleep(milliseconds: number, signal: AbortSignal, wakes: boolean): Promise<void> {
    const awake = new AbortController();
    const wake = () => awake.abort();
    signal.addEventListener('abort', wake, { once: true });
    if (wakes) this.#wakers.add(wake);
    try {
      if (!signal.aborted) await this.#clock.sleep(milliseconds, awake.signal);
    } catch (error) {
      if (!awake.signal.aborted) throw error;
    } finally {
      this.#wakers.delete(wake);
      signal.removeEventListener('abort', wake);
    }
    if (signal.aborted) throw storeError(`Cannot fetch from ${this}`, signal.reason, signal);
  }

  toString(): string {
    return this.#inner.toString();
  }
}
