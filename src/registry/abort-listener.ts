import { setMaxListeners } from 'node:events';

/**
 * Calls `listener` when `signal` aborts, at once if it has.
 * @returns what to call when it no longer matters: `AbortSignal.any` would leave an entry on a
 *   long-lived signal for each use (Node 20)
 */
export function onAbort(signal: AbortSignal, listener: () => void): () => void {
  setMaxListeners(0, signal); // one for each request under way is no leak
  if (signal.aborted) listener();
  signal.addEventListener('abort', listener);
  return () => signal.removeEventListener('abort', listener);
}
