import type { ReadySign } from '../ready-option.js';
import { untilReady, type WatchedContainer } from './readiness.js';

/** Milliseconds for which a container is looked at; what takes longer says so itself, or nobody knows. */
export const readyWatchMs = 300_000;

/** Waits for one container to be ready, for all that want to know. */
export class ReadyWatch {
  /** Resolves when it is; never, if nothing tells, or it has ended before. */
  readonly ready: Promise<void>;
  readonly #ended = new AbortController();
  #resolve: () => void = () => {};

  constructor(sign: ReadySign | undefined, container: WatchedContainer) {
    this.ready = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    const { signal } = this.#ended;
    const timer = setTimeout(() => this.end(), readyWatchMs).unref();
    void untilReady(sign, container, signal).then(() => {
      clearTimeout(timer);
      if (!signal.aborted) this.#resolve();
    });
  }

  /** It has said so. */
  tell(): void {
    this.#resolve();
    this.end();
  }

  /** It has ended. */
  end(): void {
    this.#ended.abort();
  }
}
