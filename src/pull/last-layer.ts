/** What is known of a layer's download. Compressed bytes. */
export interface LayerLeft {
  /** That are still to come; 0 for a layer that is here. */
  readonly left: number;
}

/**
 * Which layer's last byte will come last. Pure: asked again whenever more is known.
 * @param layers of the image, lowest first
 * @param order indices of them, as they begin
 * @param streams layers that download at once; they share the link alike
 * @returns the index; the highest of several that end at once; undefined if nothing is to come
 */
export function lastLayer(
  layers: readonly LayerLeft[],
  order: readonly number[],
  streams: number,
): number | undefined {
  const waiting = order
    .map((index) => ({ index, left: layers[index]?.left ?? 0 }))
    .filter(({ left }) => left > 0);
  let running = waiting.splice(0, Math.max(1, streams));
  let ended: number | undefined;
  while (running.length > 0) {
    const step = Math.min(...running.map(({ left }) => left));
    const after = running.map(({ index, left }) => ({ index, left: left - step }));
    ended = Math.max(...after.filter(({ left }) => left === 0).map(({ index }) => index));
    running = after.filter(({ left }) => left > 0);
    running.push(...waiting.splice(0, Math.max(1, streams) - running.length));
  }
  return ended;
}
