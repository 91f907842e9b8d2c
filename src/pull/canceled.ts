import { isThinError, ThinError } from '../errors.js';

/** Why a pull was given up, as an error. */
export function canceled(signal: AbortSignal): ThinError {
  const reason: unknown = signal.reason;
  if (isThinError(reason)) return reason;
  return new ThinError('canceled', 'Cannot pull image: canceled', { cause: reason });
}
