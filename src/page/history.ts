/** Milliseconds of one slot, and slots that are kept: one day. */
export const slotMs = 60_000;
export const slotsMax = 24 * 60;

/** What came in some time, by source. */
export interface Slot {
  /** Where it begins, in milliseconds on a clock that only grows. */
  readonly start: number;
  /** Bytes as they were sent. */
  readonly bytes: ReadonlyMap<string, number>;
}

/** How much came from where in the last day: 1440 slots of a minute at most, in memory. */
export class History {
  readonly #slots: { start: number; bytes: Map<string, number> }[] = [];
  #before: ReadonlyMap<string, number> = new Map();

  /**
   * To be told at least once in each slot.
   * @param now milliseconds on a clock that only grows
   * @param totals bytes since the start, by source
   */
  note(now: number, totals: ReadonlyMap<string, number>): void {
    const start = Math.floor(now / slotMs) * slotMs;
    let slot = this.#slots.at(-1);
    if (slot?.start !== start) {
      slot = { start, bytes: new Map() };
      this.#slots.push(slot);
      if (this.#slots.length > slotsMax) this.#slots.shift();
    }
    for (const [source, total] of totals) {
      const came = total - (this.#before.get(source) ?? 0);
      slot.bytes.set(source, (slot.bytes.get(source) ?? 0) + came);
    }
    this.#before = new Map(totals);
  }

  /** What came up to `now` in `count` times of `widthMs` each, the last one under way. */
  spans(now: number, widthMs: number, count: number): Slot[] {
    const last = Math.floor(now / widthMs) * widthMs;
    const spans = Array.from({ length: count }, (_, at) => ({
      start: last - (count - 1 - at) * widthMs,
      bytes: new Map<string, number>(),
    }));
    for (const { start, bytes } of this.#slots) {
      const span =
        spans[Math.floor(start / widthMs) - Math.floor((spans[0]?.start ?? 0) / widthMs)];
      for (const [source, came] of span ? bytes : []) {
        span?.bytes.set(source, (span.bytes.get(source) ?? 0) + came);
      }
    }
    return spans;
  }
}
