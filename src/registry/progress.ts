import type { Patience } from './patience.js';

/**
 * Watches a body for progress: each window of time spent waiting for it must bring some bytes. Time
 * that the consumer takes does not count, and neither does a total: a large blob may take hours.
 */
export class Progress {
  readonly #patience: Patience;
  readonly #stalled: () => void;
  #bytes = 0;
  #waitedMs = 0;

  /** @param stalled makes the body fail */
  constructor(patience: Patience, stalled: () => void) {
    this.#patience = patience;
    this.#stalled = stalled;
  }

  async *of(body: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    const iterator = body[Symbol.asyncIterator]();
    for (;;) {
      const next = await this.#during(iterator.next());
      if (next.done) return;
      this.#bytes += next.value.length;
      yield next.value;
    }
  }

  async #during<T>(waiting: Promise<T>): Promise<T> {
    const { progressWindowMs, progressBytesMin } = this.#patience;
    let since = performance.now();
    const endOfWindow = (): void => {
      if (this.#bytes < progressBytesMin) {
        this.#stalled();
        return;
      }
      this.#bytes = 0;
      this.#waitedMs = 0;
      since = performance.now();
      timer = setTimeout(endOfWindow, progressWindowMs);
    };
    let timer = setTimeout(endOfWindow, Math.max(progressWindowMs - this.#waitedMs, 0));
    try {
      return await waiting;
    } finally {
      clearTimeout(timer);
      this.#waitedMs += performance.now() - since;
    }
  }
}
