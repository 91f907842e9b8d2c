import { type IndexCalls, type IndexMethod, openIndexCalls } from '../../src/cache/index-calls.js';
import { translated } from '../../src/cache/index-schema.js';
import type { CacheIndex } from '../../src/cache/index-thread.js';
import type { CacheLayout } from '../../src/cache/layout.js';

/** The index without its thread: starting one for each reopen would make model tests slow. */
export class InlineIndex implements CacheIndex {
  readonly #calls: IndexCalls;
  #closed: boolean;

  static async open(layout: CacheLayout): Promise<InlineIndex> {
    return new InlineIndex(openIndexCalls(layout));
  }

  private constructor(calls: IndexCalls) {
    this.#calls = calls;
    this.#closed = false;
  }

  async call<M extends IndexMethod>(
    method: M,
    ...args: Parameters<IndexCalls[M]>
  ): Promise<ReturnType<IndexCalls[M]>> {
    if (method === 'close') this.#closed = true;
    const call = this.#calls[method] as (
      ...args: Parameters<IndexCalls[M]>
    ) => ReturnType<IndexCalls[M]>;
    return translated(() => call(...args));
  }

  /** Closes the files as the end of the process does, without marking anything clean. */
  async stop(): Promise<void> {
    if (!this.#closed) this.#calls.close(false);
    this.#closed = true;
  }
}
