/**
 * The items of `source`, one ahead: while the consumer works on an item, the source works on the
 * next, on the thread that it has for that.
 */
export async function* readAhead<T>(source: AsyncIterable<T>): AsyncGenerator<T, void> {
  const iterator = source[Symbol.asyncIterator]();
  const take = () => {
    const next = iterator.next();
    // Its error is thrown where it is awaited, which may be never if the consumer stops first.
    next.catch(() => {});
    return next;
  };
  try {
    for (let next = take(); ; ) {
      const result = await next;
      if (result.done === true) return;
      next = take();
      yield result.value;
    }
  } finally {
    await iterator.return?.();
  }
}
