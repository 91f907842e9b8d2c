import { canceled } from './canceled.js';

/** Lets in so many at a time, in the order of their coming. How many may change at any time. */
export class Gate {
  readonly #limit: () => number;
  readonly #queue: (() => void)[] = [];
  #inside = 0;

  constructor(limit: () => number) {
    this.#limit = limit;
  }

  /** How many it lets in now. */
  get limit(): number {
    return this.#limit();
  }

  get inside(): number {
    return this.#inside;
  }

  /** Waits to be let in; to be disposed when done. @throws ThinError `canceled` */
  async enter(signal: AbortSignal): Promise<Disposable> {
    let onAbort = () => {};
    const entered = new Promise<void>((enter, reject) => {
      this.#queue.push(enter);
      onAbort = () => {
        const place = this.#queue.indexOf(enter);
        if (place < 0) return; // was let in
        this.#queue.splice(place, 1);
        reject(canceled(signal));
      };
    });
    signal.addEventListener('abort', onAbort);
    if (signal.aborted) onAbort();
    this.turn();
    try {
      await entered;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
    return {
      [Symbol.dispose]: () => {
        this.#inside -= 1;
        this.turn();
      },
    };
  }

  /** To be called when the limit has grown. */
  turn(): void {
    while (this.#inside < this.#limit()) {
      const next = this.#queue.shift();
      if (next === undefined) return;
      this.#inside += 1;
      next();
    }
  }
}
