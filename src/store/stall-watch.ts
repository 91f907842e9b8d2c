/** Milliseconds between looks. */
const lookMs = 1000;
/** To the first byte, for a source of which nothing is known yet. */
const firstByteMs = 2000;
/** Bounds of that wait where round trips have been measured. */
const firstByteMinMs = 500;
const firstByteMaxMs = 8000;
/** A first byte is late after this many round trips. */
const lateRoundTrips = 8;
/** Bytes between two looks below which an answer counts as stalled: 128 a second. */
const slowBytes = 128;
/** Looks in a row that find it stalled before an answer that has begun is given up: 8 s. */
const slowLooksMax = 8;

export interface StallEvents {
  /** (Almost) nothing comes: it may be asked for again besides. May be called more than once. */
  readonly onStall: () => void;
  /** An answer has begun, and has brought next to nothing for long. */
  readonly onDead: () => void;
}

/**
 * Watches one answer for bytes that come too slowly to be meant. An answer that does not begin is left
 * to the client's own deadline, as the server may be looking for it.
 */
export class StallWatch implements Disposable {
  readonly #events: StallEvents;
  readonly #startedAt = performance.now();
  #firstByteMs: number | undefined;
  #bytes = 0;
  #bytesAtLook = 0;
  #slowLooks = 0;
  /** Undefined when the watch is over. */
  #timer: NodeJS.Timeout | undefined;

  constructor(roundTripMs: number | undefined, events: StallEvents) {
    this.#events = events;
    this.#timer = this.#later(firstLookMs(roundTripMs));
  }

  /** Milliseconds from the request to the first byte; undefined before that. */
  get firstByteMs(): number | undefined {
    return this.#firstByteMs;
  }

  async *of(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void> {
    for await (const bytes of source) {
      if (this.#firstByteMs === undefined) this.#begun();
      this.#bytes += bytes.length;
      yield bytes;
    }
  }

  #begun(): void {
    this.#firstByteMs = performance.now() - this.#startedAt;
    this.#slowLooks = 0;
  }

  /** Bytes that lie ready are taken first: it may be us who were late. */
  #later(milliseconds: number): NodeJS.Timeout {
    return setTimeout(() => setImmediate(() => this.#look()), milliseconds);
  }

  #look(): void {
    if (this.#timer === undefined) return;
    const came = this.#bytes - this.#bytesAtLook;
    this.#bytesAtLook = this.#bytes;
    this.#slowLooks = came < slowBytes ? this.#slowLooks + 1 : 0;
    if (this.#slowLooks > 0) this.#events.onStall();
    if (this.#slowLooks >= slowLooksMax && this.#firstByteMs !== undefined) this.#events.onDead();
    else this.#timer = this.#later(lookMs);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

function firstLookMs(roundTripMs: number | undefined): number {
  if (roundTripMs === undefined) return firstByteMs;
  return Math.max(firstByteMinMs, Math.min(lateRoundTrips * roundTripMs, firstByteMaxMs));
}
