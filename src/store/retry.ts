import { isThinError, type ThinError } from '../errors.js';
import type { Clock } from './clock.js';
import { RetryAfter } from './http-answer.js';

/** How long a wait is after attempt n: doubled each time, never beyond `delayMaxMs`. */
export interface Backoff {
  readonly delayMs: number;
  readonly delayMaxMs: number;
  /** Milliseconds that a server's Retry-After may ask for; more is taken for this much. */
  readonly retryAfterMaxMs: number;
}

/**
 * Milliseconds to wait before asking again: between half and all of the doubled delay, by chance, so
 * that many who failed together do not come back together; at least what the server asked for.
 */
export function backoffDelay(backoff: Backoff, attempt: number, error: ThinError): number {
  const delay = Math.min(backoff.delayMs * 2 ** Math.min(attempt, 30), backoff.delayMaxMs);
  const asked = error.cause instanceof RetryAfter ? error.cause.milliseconds : 0;
  return Math.max(delay * (0.5 + Math.random() / 2), Math.min(asked, backoff.retryAfterMaxMs));
}

export interface RetryPolicy extends Backoff {
  readonly attemptsMax: number;
}

/** Runs `attempt` again while it is `unavailable`: other answers do not change by asking again. */
export async function retrying<T>(
  policy: RetryPolicy,
  clock: Clock,
  signal: AbortSignal,
  attempt: () => Promise<T>,
): Promise<T> {
  for (let failed = 0; ; failed++) {
    try {
      return await attempt();
    } catch (error) {
      if (!isThinError(error, 'unavailable') || failed + 1 >= policy.attemptsMax) throw error;
      await clock.sleep(backoffDelay(policy, failed, error), signal);
    }
  }
}
