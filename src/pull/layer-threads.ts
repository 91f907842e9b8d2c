import { LayerThread } from './layer-thread.js';
import type { LayerWorker } from './pull-workers.js';

/**
 * The worker threads of all pulls. They are started when they are needed and ended when nobody pulls: a
 * thread takes 20 MB. What costs most, inflating and storing, is not done by them but by the addon's, so
 * that one of them is enough for two cores.
 */
export class LayerThreads {
  readonly #start: () => LayerWorker;
  readonly #most: number;
  #threads: LayerThread[] = [];
  #users = 0;

  /** @param start starts a thread */
  constructor(start: () => LayerWorker, cores: number) {
    this.#start = start;
    this.#most = Math.max(1, Math.floor(cores / 2));
  }

  /** Threads may be used until this is disposed. */
  use(): AsyncDisposable {
    this.#users += 1;
    let ended = false;
    return {
      [Symbol.asyncDispose]: async () => {
        if (ended) return;
        ended = true;
        this.#users -= 1;
        if (this.#users > 0) return;
        const threads = this.#threads.splice(0);
        await Promise.all(threads.map((thread) => thread[Symbol.asyncDispose]()));
      },
    };
  }

  /** The thread with the least to do. */
  pick(): LayerThread {
    this.#threads = this.#threads.filter(({ usable }) => usable);
    const [best] = this.#threads.sort((a, b) => a.load - b.load);
    if (best !== undefined && (best.load === 0 || this.#threads.length >= this.#most)) return best;
    const started = new LayerThread(this.#start());
    this.#threads.push(started);
    return started;
  }
}
