import { ThinError } from '../errors.js';

/**
 * Runs `work` with a signal that is aborted when `signal` is, or with `unavailable` when the time is
 * over. Linked and unlinked by hand: `AbortSignal.any` leaks on a long-lived signal in Node 20.
 */
export async function withTimeLimit<T>(
  milliseconds: number,
  signal: AbortSignal,
  what: string,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const limited = new AbortController();
  const abort = () => limited.abort(signal.reason);
  const timer = setTimeout(() => {
    limited.abort(new ThinError('unavailable', `${what}: not done after ${milliseconds} ms`));
  }, milliseconds);
  if (signal.aborted) abort();
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await work(limited.signal);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', abort);
  }
}
