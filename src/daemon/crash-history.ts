/** Milliseconds that a death counts. */
const windowMs = 10_000;
/** Deaths in the window after which the next start is not made at once. */
const immediateMax = 5;
/** Milliseconds before the first delayed start, which doubles until the server is degraded. */
const firstPauseMs = 100;
/** Deaths in the window that are a crash loop. */
const loopDeaths = 10;
/** Milliseconds between attempts in a crash loop: the first, and the most. */
const loopPauseMs = 5_000;
const loopPauseMaxMs = 30_000;
/** Milliseconds that a server must have lived for a crash loop to be over. */
const recoveredMs = 10_000;

/**
 * When to start a server again that has died. A server that is killed now and then is started at
 * once; ten deaths in ten seconds are a crash loop, which is left when a server lives.
 */
export class CrashHistory {
  #deaths: number[] = [];
  #loopPauseMs = 0;
  #count = 0;

  get count(): number {
    return this.#count;
  }

  get degraded(): boolean {
    return this.#loopPauseMs > 0;
  }

  /**
   * @param now milliseconds of a clock that only grows
   * @param livedMs since the server was started
   * @returns milliseconds before the next start
   */
  died(now: number, livedMs: number): number {
    this.#count++;
    if (livedMs >= recoveredMs) this.forget();
    this.#deaths = [...this.#deaths.filter((death) => death > now - windowMs), now];
    if (this.degraded || this.#deaths.length >= loopDeaths) {
      this.#loopPauseMs = Math.min(this.#loopPauseMs * 2 || loopPauseMs, loopPauseMaxMs);
      return this.#loopPauseMs;
    }
    const delayed = this.#deaths.length - immediateMax;
    return delayed <= 0 ? 0 : firstPauseMs * 2 ** (delayed - 1);
  }

  /** A server that lives has ended the crash loop, or somebody has repaired what was wrong. */
  forget(): void {
    this.#deaths = [];
    this.#loopPauseMs = 0;
  }
}
