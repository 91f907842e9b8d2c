import { ThinError } from '../errors.js';

/**
 * Does `work` for every item, at most `max` at a time. The first failure aborts the others and is
 * thrown once they have ended.
 */
export async function inParallel<T>(
  items: Iterable<T>,
  max: number,
  signal: AbortSignal,
  work: (item: T, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const abort = new AbortController();
  const giveUp = () => abort.abort(signal.reason);
  const failures: unknown[] = [];
  const queue = items[Symbol.iterator]();
  const run = async () => {
    for (let next = queue.next(); !next.done; next = queue.next()) {
      if (abort.signal.aborted) throw new ThinError('canceled', 'Cannot go on: it was given up');
      await work(next.value, abort.signal);
    }
  };
  const guarded = () =>
    run().catch((error: unknown) => {
      failures.push(error);
      abort.abort(error);
    });
  if (signal.aborted) giveUp();
  signal.addEventListener('abort', giveUp, { once: true });
  try {
    await Promise.all(Array.from({ length: max }, guarded));
  } finally {
    signal.removeEventListener('abort', giveUp);
  }
  if (failures.length > 0) throw failures[0];
}
