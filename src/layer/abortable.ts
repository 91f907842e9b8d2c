import { isThinError, ThinError } from '../errors.js';

/**
 * The items of `source`, until `signal` says stop: that ends even a wait for an item that never
 * comes. However it ends, the source is told to end as well, and waited for unless it hangs.
 * @throws ThinError `canceled`, or the signal's reason if that is a ThinError
 */
export async function* abortable<T>(
  source: AsyncIterable<T>,
  signal: AbortSignal,
): AsyncGenerator<T, void> {
  const iterator = source[Symbol.asyncIterator]();
  let waiting = false;
  let stop = () => {};
  const onAbort = () => stop();
  signal.addEventListener('abort', onAbort);
  // Not Promise.race: it would keep something on the one long-lived promise for every item.
  const take = () =>
    new Promise<IteratorResult<T>>((resolve, reject) => {
      stop = () => reject(reasonOf(signal));
      if (signal.aborted) return stop();
      waiting = true;
      iterator
        .next()
        .finally(() => {
          waiting = false;
        })
        .then(resolve, reject);
    });
  try {
    for (let result = await take(); result.done !== true; result = await take()) {
      yield result.value;
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    const ended = iterator.return?.();
    if (waiting) ended?.catch(() => {});
    else await ended;
  }
}

function reasonOf(signal: AbortSignal): ThinError {
  const reason: unknown = signal.reason;
  if (isThinError(reason)) return reason;
  return new ThinError('canceled', 'Cannot read layer: canceled', { cause: reason });
}
