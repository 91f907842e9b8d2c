import type { Clock } from '../store/clock.js';

/** Milliseconds between two looks at least: reads that wait come and go in between. */
const lookMs = 500;

export interface StartTimeLimits {
  /** Milliseconds of a program's own time. */
  readonly ownMs: number;
  /** Milliseconds of any time. */
  readonly mostMs: number;
}

/**
 * How long a start may take. While a read of the program waits for bytes, it is the link's time that passes
 * and not the program's: over a slow one a start is the same, and takes longer.
 */
export class StartTime {
  readonly #limits: StartTimeLimits;
  readonly #clock: Clock;
  readonly #startedAt: number;
  /** Reads that wait now, since when one does, and milliseconds that have passed with one before that. */
  #waiting = 0;
  #waitingSince = 0;
  #waitedMs = 0;

  constructor(limits: StartTimeLimits, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
    this.#startedAt = clock.now();
  }

  /** @param read settles when it need not be waited for any more */
  waitsFor(read: Promise<unknown>): void {
    if (this.#waiting === 0) this.#waitingSince = this.#clock.now();
    this.#waiting += 1;
    const settled = () => {
      this.#waiting -= 1;
      if (this.#waiting === 0) this.#waitedMs += this.#clock.now() - this.#waitingSince;
    };
    read.then(settled, settled);
  }

  /** Resolves when a limit is reached, up to half a second late. @throws the signal's reason */
  async over(signal: AbortSignal): Promise<void> {
    for (let left = this.#leftMs(); left > 0; left = this.#leftMs()) {
      await this.#clock.sleep(Math.max(left, lookMs), signal);
    }
  }

  /** Milliseconds, if no read waits from now on. */
  #leftMs(): number {
    const { ownMs, mostMs } = this.#limits;
    const now = this.#clock.now();
    const waitedMs = this.#waitedMs + (this.#waiting > 0 ? now - this.#waitingSince : 0);
    const passedMs = now - this.#startedAt;
    return Math.min(ownMs - (passedMs - waitedMs), mostMs - passedMs);
  }
}
