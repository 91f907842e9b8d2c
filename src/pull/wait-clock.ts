/** What a layer waits for: bytes of its source, or room at its worker. */
export type Wait = 'source' | 'worker';

/** Adds up what was waited for. */
export class WaitClock {
  readonly #totals: Record<Wait, number> = { source: 0, worker: 0 };
  #waiting: Wait | undefined;
  #since = 0;

  /** From now on this is waited for; undefined: for nothing. */
  enter(wait: Wait | undefined): void {
    const now = performance.now();
    if (this.#waiting !== undefined) this.#totals[this.#waiting] += now - this.#since;
    this.#waiting = wait;
    this.#since = now;
  }

  /** Milliseconds so far, the wait that goes on now included. */
  get totals(): Readonly<Record<Wait, number>> {
    this.enter(this.#waiting);
    return { ...this.#totals };
  }
}
