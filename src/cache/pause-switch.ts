/** What work that can be interrupted looks at between its steps. */
export interface Pause {
  /** Ends when work may go on, or `signal` is aborted. */
  over(signal: AbortSignal): Promise<void>;
}

/** A pause that somebody begins and ends. */
export class PauseSwitch implements Pause {
  readonly #waiting = new Set<() => void>();
  #paused: boolean;

  constructor() {
    this.#paused = false;
  }

  get paused(): boolean {
    return this.#paused;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    for (const wake of this.#waiting) wake();
  }

  async over(signal: AbortSignal): Promise<void> {
    while (this.#paused && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const wake = () => {
          this.#waiting.delete(wake);
          signal.removeEventListener('abort', wake);
          resolve();
        };
        this.#waiting.add(wake);
        signal.addEventListener('abort', wake, { once: true });
      });
    }
  }
}
