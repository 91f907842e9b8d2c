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
  if (signal.aborted) giveUp();
  signal.addEventListener('abort', giveUp, { once: true });
  const queue = items[Symbol.iterator]();
  const run = async () => {
    for (let next = queue.next(); !next.done; next = queue.next()) {
      abort.signal.throwIfAborted();
      await work(next.value, abort.signal);
    }
  };
  const guarded = () =>
    run().catch((error: unknown) => {
      // The first reason stays: what fails because of it throws that reason too.
      abort.abort(error);
    });
  try {
    await Promise.all(Array.from({ length: max }, guarded));
    abort.signal.throwIfAborted();
  } finally {
    signal.removeEventListener('abort', giveUp);
  }
}
