import { ThinError } from '../errors.js';

/**
 * Runs `work` with a signal that is aborted when `signal` is, or with `unavailable` when the time is
 * over or `work` itself says so. Linked and unlinked by hand: `AbortSignal.any` leaks on a long-lived
 * signal in Node 20.
 */
export async function withTimeLimit<T>(
  milliseconds: number,
  signal: AbortSignal,
  what: string,
  work: (signal: AbortSignal, giveUp: (reason: ThinError) => void) => Promise<T>,
): Promise<T> {
  const limited = new AbortController();
  const abort = () => limited.abort(signal.reason);
  const giveUp = (reason: ThinError) => limited.abort(reason);
  const timer = setTimeout(() => {
    giveUp(new ThinError('unavailable', `${what}: not done after ${milliseconds} ms`));
  }, milliseconds);
  if (signal.aborted) abort();
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await work(limited.signal, giveUp);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', abort);
  }
}
