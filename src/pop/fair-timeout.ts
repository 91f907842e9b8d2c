/** Most ticks of one time, and milliseconds of a tick at least. */
const ticks = 5;
const tickMinMs = 5;

/**
 * Calls `late` after a time in which an answer could have been heard: what has arrived is taken first,
 * and a tick that comes late, as this process was busy, counts as one.
 * @returns ends it
 */
export function fairTimeout(milliseconds: number, late: () => void): () => void {
  const tickMs = Math.max(milliseconds / ticks, tickMinMs);
  let timer: NodeJS.Timeout;
  let ended: boolean = false;
  const tick = (left: number): NodeJS.Timeout =>
    setTimeout(
      () => {
        if (left > tickMs) timer = tick(left - tickMs);
        else setImmediate(() => !ended && late());
      },
      Math.min(left, tickMs),
    );
  timer = tick(milliseconds);
  return () => {
    ended = true;
    clearTimeout(timer);
  };
}
