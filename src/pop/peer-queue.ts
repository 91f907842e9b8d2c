import { type BatchEntry, batchNamesMax } from './frame-batch.js';
import type { FetchName } from './pop-keys.js';

/** Requests to one peer that are under way. */
const requestsMax = 4;

/** What a request for several frames came to: of each; or that the peer is busy, or did not answer. */
export type BatchAnswer = readonly BatchEntry[] | 'busy' | undefined;
export type FrameAnswer = Exclude<BatchEntry, 'later'> | 'busy' | undefined;

interface Wanted {
  readonly name: FetchName;
  readonly signal: AbortSignal;
  readonly onSent: () => void;
  readonly resolve: (answer: FrameAnswer) => void;
}

/**
 * What is wanted of one peer: what is asked for at the same moment, or while requests are under way,
 * goes together.
 */
export class PeerQueue {
  readonly #send: (names: readonly FetchName[], signal: AbortSignal) => Promise<BatchAnswer>;
  #waiting: Wanted[] = [];
  #sending = 0;
  #isDue: boolean;

  /** @param send one request; never fails */
  constructor(send: (names: readonly FetchName[], signal: AbortSignal) => Promise<BatchAnswer>) {
    this.#send = send;
    this.#isDue = false;
  }

  /** Never fails. @param onSent told when the request goes out, again if it has to be repeated */
  ask(name: FetchName, signal: AbortSignal, onSent: () => void): Promise<FrameAnswer> {
    return new Promise((resolve) => {
      this.#waiting.push({ name, signal, onSent, resolve });
      this.#soon();
    });
  }

  #soon(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    setImmediate(() => {
      this.#isDue = false;
      this.#sendAll();
    });
  }

  #sendAll(): void {
    while (this.#sending < requestsMax && this.#waiting.length > 0) {
      const batch: Wanted[] = [];
      for (const wanted of this.#waiting.splice(0, batchNamesMax)) {
        if (wanted.signal.aborted) wanted.resolve(undefined);
        else batch.push(wanted);
      }
      if (batch.length > 0) void this.#sendBatch(batch);
    }
  }

  async #sendBatch(batch: readonly Wanted[]): Promise<void> {
    this.#sending += 1;
    const over = new AbortController();
    let left = batch.length;
    const leave = () => {
      left -= 1;
      if (left === 0) over.abort();
    };
    for (const { signal, onSent } of batch) {
      signal.addEventListener('abort', leave, { once: true });
      onSent();
    }
    const names = batch.map(({ name }) => name);
    const answer = await this.#send(names, over.signal);
    this.#sending -= 1;
    for (const [at, wanted] of batch.entries()) {
      wanted.signal.removeEventListener('abort', leave);
      const entry = typeof answer === 'object' ? answer[at] : answer;
      if (entry === 'later') this.#waiting.push(wanted);
      else wanted.resolve(entry);
    }
    this.#sendAll();
  }
}
