/**
 * Requests to one host at a time, for all images together: enough for a long line. With a second
 * attempt for each that stalls, and what is asked besides frames, it stays below 64 connections.
 */
export const fetchesInFlightMax = 32;

interface Waiting {
  readonly isBackground: () => boolean;
  readonly start: () => void;
}

/** Places for {@link fetchesInFlightMax} fetches; whatever somebody waits for goes first. */
export class FetchSlots {
  readonly #queue = new Set<Waiting>();
  #inFlight = 0;

  get inFlight(): number {
    return this.#inFlight;
  }

  get queued(): number {
    return this.#queue.size;
  }

  /**
   * Resolves with a place, which {@link release} passes on.
   * @param isBackground looked at whenever a place is free: a fetch may become urgent in the queue
   * @throws the signal's reason
   */
  take(isBackground: () => boolean, signal: AbortSignal): Promise<void> | undefined {
    if (this.#inFlight >= fetchesInFlightMax) return this.#turn(isBackground, signal);
    this.#inFlight += 1;
    return undefined;
  }

  release(): void {
    const next = this.#next();
    if (next) next.start();
    else this.#inFlight -= 1;
  }

  #turn(isBackground: () => boolean, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const giveUp = () => {
        this.#queue.delete(waiting);
        reject(signal.reason);
      };
      const start = () => {
        signal.removeEventListener('abort', giveUp);
        this.#queue.delete(waiting);
        resolve();
      };
      const waiting = { isBackground, start };
      if (signal.aborted) return giveUp();
      signal.addEventListener('abort', giveUp, { once: true });
      this.#queue.add(waiting);
    });
  }

  #next(): Waiting | undefined {
    let first: Waiting | undefined;
    for (const waiting of this.#queue) {
      if (!waiting.isBackground()) return waiting;
      first ??= waiting;
    }
    return first;
  }
}
