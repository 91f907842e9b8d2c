/** Milliseconds that a death counts. */
const windowMs = 10_000;
/** Deaths after which the next start is not made at once. */
const immediateMax = 5;
/** Milliseconds before the first start that is not, which double from death to death. */
const firstPauseMs = 100;
/** Deaths in the window, or starts in a row that failed, that are a crash loop. */
const loopDeaths = 10;
/** Milliseconds between attempts in a crash loop: the first, and the most. */
const loopPauseMs = 5_000;
const loopPauseMaxMs = 30_000;
/** Milliseconds that a server must have lived for a crash loop to be over. */
const recoveredMs = 10_000;

/** How one server ended that should not have. */
export interface Death {
  /** Milliseconds of a clock that only grows. */
  readonly at: number;
  /** Milliseconds since it was started. */
  readonly lived: number;
  /** Whether it has ever served. */
  readonly served: boolean;
}

/**
 * When to start a server again that has died. One that is killed now and then is started at once;
 * ten deaths in ten seconds are a crash loop, which is left when a server lives.
 */
export class CrashHistory {
  #deaths: number[] = [];
  #failedStarts = 0;
  #loopPauseMs = 0;
  #count = 0;

  get count(): number {
    return this.#count;
  }

  get degraded(): boolean {
    return this.#loopPauseMs > 0;
  }

  /** @returns milliseconds before the next start */
  died({ at, lived, served }: Death): number {
    this.#count++;
    if (served && lived >= recoveredMs) this.forget();
    this.#deaths = [...this.#deaths.filter((death) => death > at - windowMs), at];
    this.#failedStarts = served ? 0 : this.#failedStarts + 1;
    const inRow = Math.max(this.#deaths.length, this.#failedStarts);
    if (this.degraded || inRow >= loopDeaths) {
      this.#loopPauseMs = Math.min(this.#loopPauseMs * 2 || loopPauseMs, loopPauseMaxMs);
      return this.#loopPauseMs;
    }
    return inRow <= immediateMax ? 0 : firstPauseMs * 2 ** (inRow - immediateMax - 1);
  }

  /** Somebody has repaired what was wrong, or it has gone by itself. */
  forget(): void {
    this.#deaths = [];
    this.#failedStarts = 0;
    this.#loopPauseMs = 0;
  }
}
