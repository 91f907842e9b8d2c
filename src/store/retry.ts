import { isThinError, type ThinError } from '../errors.js';
import { HttpFailure } from '../registry/http-failure.js';
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
  const delay = Math.min(
    backoff.delayMs * 2 ** Math.max(0, Math.min(attempt, 30)),
    backoff.delayMaxMs,
  );
  const asked = Math.min(askedDelay(error), backoff.retryAfterMaxMs);
  return Math.max(delay * (0.5 + Math.random() / 2), asked);
}

/** Milliseconds that a server asked to wait (Retry-After), however its client tells; 0 if it did not. */
export function askedDelay({ cause }: ThinError): number {
  if (cause instanceof RetryAfter) return cause.milliseconds;
  return cause instanceof HttpFailure ? (cause.retryAfterMs ?? 0) : 0;
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
