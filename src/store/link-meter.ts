import type { Clock } from './clock.js';

/** Milliseconds over which arrivals are summed: longer than a round trip of most links. */
const spanMs = 100;
/** Spans that are remembered: what a link brought at best in the last seconds is what it can bring. */
const spansMax = 50;

/** How many bytes a second a link brings, measured while something comes: its best recent 100 ms. */
export class LinkMeter {
  readonly #clock: Clock;
  /** Bytes a second of the spans that have ended, the newest last. */
  readonly #spans: number[] = [];
  #since = Number.NEGATIVE_INFINITY;
  #bytes = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  received(bytes: number): void {
    const now = this.#clock.now();
    const elapsed = now - this.#since;
    if (elapsed >= spanMs) {
      // What came in a span that was broken off by a pause says nothing of the link.
      if (elapsed < 2 * spanMs) this.#spans.push((1000 * this.#bytes) / elapsed);
      if (this.#spans.length > spansMax) this.#spans.shift();
      this.#since = now;
      this.#bytes = 0;
    }
    this.#bytes += bytes;
  }

  /** Undefined before it has been busy for a span. */
  get bytesPerSecond(): number | undefined {
    return this.#spans.length > 0 ? Math.max(...this.#spans) : undefined;
  }
}
