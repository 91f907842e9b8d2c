import { setTimeout as delay } from 'node:timers/promises';
import { isThinError, ThinError } from '../errors.js';
import { HttpFailure } from './http-failure.js';
import type { Patience } from './patience.js';

/**
 * Counts the failures of one piece of work and waits between its tries. undici's own retry handler
 * sits below authentication and redirects; a retry must pass through both again (an expired token,
 * an expired signed URL), so it is here, once, for the whole folder.
 */
export class Backoff {
  readonly #patience: Patience;
  #failures = 0;

  constructor(patience: Patience) {
    this.#patience = patience;
  }

  /** The work has advanced: count from the beginning. */
  reset(): void {
    this.#failures = 0;
  }

  /**
   * Returns when the next try is due.
   * @throws `error` itself if it is not `unavailable`, if the tries are used up, or if the registry
   *   asks for a longer wait than is tolerated; ThinError `canceled` on `signal`.
   */
  async wait(error: unknown, signal: AbortSignal): Promise<void> {
    const { attemptsMax, backoffMs, backoffMaxMs, retryAfterMaxMs } = this.#patience;
    this.#failures += 1;
    if (!isThinError(error, 'unavailable') || this.#failures >= attemptsMax) throw error;
    const asked = error.cause instanceof HttpFailure ? (error.cause.retryAfterMs ?? 0) : 0;
    if (asked > retryAfterMaxMs) throw error;
    const ceiling = Math.min(backoffMs * 2 ** (this.#failures - 1), backoffMaxMs);
    const jittered = ceiling * (0.5 + Math.random() / 2);
    try {
      await delay(Math.max(asked, jittered), undefined, { signal });
    } catch (cause) {
      throw new ThinError('canceled', `${error.message}; the retry was canceled`, { cause });
    }
  }
}

/** Does `attempt` until it succeeds or {@link Backoff} gives up. */
export async function retrying<T>(
  patience: Patience,
  signal: AbortSignal,
  attempt: () => Promise<T>,
): Promise<T> {
  const backoff = new Backoff(patience);
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      await backoff.wait(error, signal);
    }
  }
}
