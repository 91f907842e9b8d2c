import { setTimeout as delay } from 'node:timers/promises';
import type { Roots } from './roots.js';

/** Milliseconds in which further files are removed: one look into the tiers for all of them. */
const gatherMs = 100;

/**
 * Roots go on reading a file that they have found, also when it was removed from its tier, for being
 * wrong or for want of space, which it goes on taking: they are made to look again.
 */
export class RefreshOnWrong {
  #roots: Roots | undefined;
  #pending: Promise<void> | undefined;
  #missed: boolean = false;

  /** The roots are opened after the cache, which may have found wrong files by then. */
  of(roots: Roots): void {
    this.#roots = roots;
    if (this.#missed) this.onWrong();
  }

  readonly onWrong = (): void => {
    void this.refresh();
  };

  /** Ends when all roots have looked again. */
  readonly refresh = (): Promise<void> => {
    this.#missed = this.#roots === undefined;
    this.#pending ??= delay(gatherMs).then(async () => {
      this.#pending = undefined;
      await this.#roots?.refreshAll();
    });
    return this.#pending;
  };
}
