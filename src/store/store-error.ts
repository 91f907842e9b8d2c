import { fromSystemError, isThinError, ThinError } from '../errors.js';

/**
 * Converts what a file system or network call threw while `signal` was listened to: the caller's
 * giving up is `canceled` whatever form the error has.
 * @param action `Cannot <verb> <object>`
 */
export function storeError(action: string, error: unknown, signal: AbortSignal): ThinError {
  if (isThinError(error)) return error;
  if (!signal.aborted) return fromSystemError(action, error);
  if (isThinError(signal.reason)) return signal.reason;
  return new ThinError('canceled', `${action}: it was given up`, { cause: signal.reason });
}
