import { type BatchEntry, batchNamesMax } from './frame-batch.js';
import type { FetchName } from './pop-keys.js';

/** Requests to one peer that are under way. */
const requestsMax = 4;

/** What a request for several frames came to: of each; or that the peer is busy, or did not answer. */
export type BatchAnswer = readonly BatchEntry[] | 'busy' | undefined;
export type FrameAnswer = Exclude<BatchEntry, 'later'> | 'busy' | undefined;

export interface QueueWish {
  readonly signal: AbortSignal;
  /** Nobody waits for it: what somebody waits for goes first. Looked at again and again. */
  readonly background: () => boolean;
  /** Told when the request goes out, again if the peer has it and wants to be asked for it once more. */
  readonly onSent: () => void;
}

interface Wanted extends QueueWish {
  readonly name: FetchName;
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

  /** Never fails. */
  ask(name: FetchName, wish: QueueWish): Promise<FrameAnswer> {
    return new Promise((resolve) => {
      this.#waiting.push({ ...wish, name, resolve });
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
    for (const { resolve } of this.#take(({ signal }) => signal.aborted)) resolve(undefined);
    while (this.#sending < requestsMax && this.#waiting.length > 0) {
      const hurried = this.#take(({ background }) => !background(), batchNamesMax);
      void this.#sendBatch(hurried.length > 0 ? hurried : this.#take(() => true, batchNamesMax));
    }
  }

  /** Takes so many out, the oldest first. */
  #take(isTaken: (wanted: Wanted) => boolean, count = Number.POSITIVE_INFINITY): Wanted[] {
    const taken: Wanted[] = [];
    this.#waiting = this.#waiting.filter((wanted) => {
      if (taken.length >= count || !isTaken(wanted)) return true;
      taken.push(wanted);
      return false;
    });
    return taken;
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
    // One that puts off all of it would be asked for ever.
    const brings = typeof answer === 'object' && answer.some((entry) => entry !== 'later');
    const again: Wanted[] = [];
    for (const [at, wanted] of batch.entries()) {
      wanted.signal.removeEventListener('abort', leave);
      const entry = typeof answer === 'object' ? answer[at] : answer;
      if (entry !== 'later') wanted.resolve(entry);
      else if (brings) again.push(wanted);
      else wanted.resolve(undefined);
    }
    this.#waiting.unshift(...again);
    this.#sendAll();
  }
}
