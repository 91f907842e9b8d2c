import type { Frame } from '../chunk/frame.js';
import type { FrameFetchOptions, FrameSource } from './frame-source.js';
import { storeError } from './store-error.js';

/** Requests to one store at a time: enough for a long line, few enough for a small server. */
const fetchesInFlightMax = 16;

interface Waiting {
  readonly options: FrameFetchOptions;
  readonly start: () => void;
}

/** At most {@link fetchesInFlightMax} fetches at once; whatever somebody waits for goes first. */
export class BoundedFrames implements FrameSource {
  readonly #inner: FrameSource;
  readonly #queue = new Set<Waiting>();
  #inFlight = 0;

  constructor(inner: FrameSource) {
    this.#inner = inner;
  }

  async fetchFrame(frame: Frame, signal: AbortSignal, options: FrameFetchOptions = {}) {
    if (this.#inFlight < fetchesInFlightMax) this.#inFlight += 1;
    else await this.#turn(signal, options);
    try {
      return await this.#inner.fetchFrame(frame, signal, options);
    } finally {
      this.#passOn();
    }
  }

  /** Waits until a fetch that ends passes its place on to this one. */
  #turn(signal: AbortSignal, options: FrameFetchOptions): Promise<void> {
    return new Promise((resolve, reject) => {
      const giveUp = () => {
        this.#queue.delete(waiting);
        reject(storeError(`Cannot fetch frame from ${this}`, signal.reason, signal));
      };
      const start = () => {
        signal.removeEventListener('abort', giveUp);
        this.#queue.delete(waiting);
        resolve();
      };
      const waiting = { options, start };
      if (signal.aborted) return giveUp();
      signal.addEventListener('abort', giveUp, { once: true });
      this.#queue.add(waiting);
    });
  }

  #passOn(): void {
    const next = this.#next();
    if (next) next.start();
    else this.#inFlight -= 1;
  }

  /** `background` is looked at now: a fetch in the queue may have become urgent since. */
  #next(): Waiting | undefined {
    let first: Waiting | undefined;
    for (const waiting of this.#queue) {
      if (!waiting.options.background) return waiting;
      first ??= waiting;
    }
    return first;
  }

  toString(): string {
    return this.#inner.toString();
  }
}
