import type { Frame } from '../chunk/frame.js';
import { type FrameFetchOptions, type FrameSource, frameKey } from './frame-source.js';
import { storeError } from './store-error.js';

/** A fetch that several callers wait for. */
interface Flight {
  readonly plain: Promise<Buffer>;
  readonly abort: AbortController;
  /** Shared with the stack below; `background` ends when somebody who waits joins. */
  readonly options: FrameFetchOptions & { background: boolean };
  waiting: number;
}

/**
 * One fetch of a frame at a time, however many want it. A caller that gives up leaves the others
 * their fetch; with the last one it is given up.
 */
export class SingleFlightFrames implements FrameSource {
  readonly #inner: FrameSource;
  readonly #flights = new Map<string, Flight>();

  constructor(inner: FrameSource) {
    this.#inner = inner;
  }

  async fetchFrame(frame: Frame, signal: AbortSignal, options: FrameFetchOptions = {}) {
    const { fresh = false, background = false, onStall, onWire } = options;
    const key = `${frameKey(frame)} ${fresh}`;
    const flight =
      this.#flights.get(key) ?? this.#start(key, frame, { fresh, background, onStall, onWire });
    if (!background) flight.options.background = false;
    return await this.#join(key, flight, signal);
  }

  #start(key: string, frame: Frame, options: Flight['options']): Flight {
    const abort = new AbortController();
    const plain = this.#inner.fetchFrame(frame, abort.signal, options);
    const flight = { plain, abort, options, waiting: 0 };
    this.#flights.set(key, flight);
    const end = () => this.#forget(key, flight);
    plain.then(end, end);
    return flight;
  }

  #forget(key: string, flight: Flight): void {
    if (this.#flights.get(key) === flight) this.#flights.delete(key);
  }

  #join(key: string, flight: Flight, signal: AbortSignal): Promise<Buffer> {
    flight.waiting += 1;
    return new Promise((resolve, reject) => {
      const giveUp = () => {
        flight.waiting -= 1;
        if (flight.waiting === 0) {
          this.#forget(key, flight);
          flight.abort.abort(signal.reason);
        }
        reject(storeError(`Cannot fetch from ${this}`, signal.reason, signal));
      };
      if (signal.aborted) return giveUp();
      signal.addEventListener('abort', giveUp, { once: true });
      const unlink = () => signal.removeEventListener('abort', giveUp);
      flight.plain.finally(unlink).then(resolve, reject);
    });
  }

  toString(): string {
    return this.#inner.toString();
  }
}
