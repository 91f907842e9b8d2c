/**
 * The items of `source`, some ahead: while the consumer works on an item, the source works on the
 * next ones, on the thread that it has for that.
 * @param count of items that are asked for before the consumer asks
 */
export async function* readAhead<T>(
  source: AsyncIterable<T>,
  count: number,
): AsyncGenerator<T, void> {
  const iterator = source[Symbol.asyncIterator]();
  const coming: Promise<IteratorResult<T>>[] = [];
  const take = () => {
    const next = iterator.next();
    // Its error is thrown where it is awaited, which may be never if the consumer stops first.
    next.catch(() => {});
    coming.push(next);
  };
  try {
    for (let ahead = 0; ahead < count; ahead++) take();
    for (let next = coming.shift(); next !== undefined; next = coming.shift()) {
      const result = await next;
      if (result.done === true) return;
      take();
      yield result.value;
    }
  } finally {
    await iterator.return?.();
  }
}
