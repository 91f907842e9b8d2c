import type { Digest } from '../digest.js';

/** Files of one report, so that a program that opens thousands costs few messages. */
const batchMax = 64;
/** Between reports, while files are being used. */
const intervalMs = 1_000;

/**
 * Collects which files were used, for a thread that has no timers: what is collected is told when
 * the next file comes, at the latest at the end.
 */
export class FirstUses {
  readonly #report: (contents: readonly Digest[]) => void;
  readonly #now: () => number;
  #collected: Digest[] = [];
  #reportedAt = Number.NEGATIVE_INFINITY;

  constructor(report: (contents: readonly Digest[]) => void, now: () => number) {
    this.#report = report;
    this.#now = now;
  }

  add(content: Digest): void {
    this.#collected.push(content);
    const due = this.#now() - this.#reportedAt >= intervalMs;
    if (due || this.#collected.length >= batchMax) this.flush();
  }

  flush(): void {
    if (this.#collected.length === 0) return;
    this.#report(this.#collected);
    this.#collected = [];
    this.#reportedAt = this.#now();
  }
}
