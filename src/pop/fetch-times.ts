/** Bounds of how long another node's fetch is waited for, in milliseconds, and without measurements. */
const patienceMinMs = 3000;
const patienceMaxMs = 15_000;
const patienceUnknownMs = 5000;
/** For what is larger than a frame: as long as its lease is renewed. */
export const wholePatienceMs = 20_000;
/** In times of our own late fetches, and the fetches that are remembered for it. */
const patienceFetches = 4;
const fetchTimesMax = 64;

/** How long fetches from origins take here: what tells how long to wait for another's. */
export class FetchTimes {
  readonly #times: number[] = [];
  #at = 0;

  took(milliseconds: number): void {
    this.#times[this.#at] = milliseconds;
    this.#at = (this.#at + 1) % fetchTimesMax;
  }

  /** Milliseconds after which a fetch is later than 19 of 20; undefined where none was made. */
  get lateMs(): number | undefined {
    const sorted = [...this.#times].sort((a, b) => a - b);
    return sorted[Math.floor(sorted.length * 0.95)];
  }

  /** Milliseconds for which another node's fetch is waited for. */
  get patienceMs(): number {
    const late = this.lateMs;
    if (late === undefined) return patienceUnknownMs;
    return Math.min(Math.max(patienceFetches * late, patienceMinMs), patienceMaxMs);
  }
}
