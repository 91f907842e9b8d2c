import { setTimeout as delay } from 'node:timers/promises';
import { describeError, fromSystemError, isThinError, ThinError } from '../errors.js';
import type { PullProgress } from '../pull/pull-run.js';
import type { CompletionStatus } from './control-api.js';

/** Brings all of an image; ends when it is here for good. */
export type BringImage = (
  signal: AbortSignal,
  onProgress: (progress: PullProgress) => void,
) => Promise<void>;

/** Milliseconds until it is tried again: twice as long each time, up to the most. */
const retryMs = 1000;
const retryMsMax = 30_000;

/** How one image comes: `expected` until somebody brings it; `failed` where trying again is of no use. */
type Phase =
  | { readonly kind: 'expected' }
  | { readonly kind: 'coming'; readonly done: Promise<void> }
  | { readonly kind: 'here' }
  | { readonly kind: 'failed'; readonly error: ThinError };

/** One image on its way here, while programs use what has come of it. */
export class ImageArrival implements AsyncDisposable {
  readonly #onTrouble: (reason: string, again: boolean) => void;
  readonly #stop = new AbortController();
  /** Who waits for a file of it. */
  readonly #readers = new Set<AbortController>();
  #bring: BringImage | undefined;
  #phase: Phase = { kind: 'expected' };
  #trouble: ThinError | undefined;
  /** Compressed. */
  #bytes = { total: 0, missing: 0 };

  /** @param onTrouble told why it did not come, and whether it is tried again */
  constructor(onTrouble: (reason: string, again: boolean) => void) {
    this.#onTrouble = onTrouble;
  }

  get hasFailed(): boolean {
    return this.#phase.kind === 'failed';
  }

  get trouble(): ThinError | undefined {
    return this.#trouble;
  }

  get status(): CompletionStatus {
    const { total: totalBytes, missing: missingBytes } = this.#bytes;
    const state = this.hasFailed ? 'failed' : 'running';
    const reason = this.#trouble?.message;
    return { state, totalBytes, missingBytes, ...(reason !== undefined && { reason }) };
  }

  begin(bring: BringImage): void {
    this.#bring = bring;
    if (this.#phase.kind === 'coming') return;
    const done = this.#run(bring);
    this.#phase = { kind: 'coming', done };
    done.catch(() => undefined); // is told to who waits, and logged
  }

  /** Ends when all of it is here; one that has failed is tried again. @throws ThinError */
  async complete(signal: AbortSignal): Promise<void> {
    if (this.#phase.kind === 'failed' && this.#bring) this.begin(this.#bring);
    const { done } = this.#phase.kind === 'coming' ? this.#phase : { done: undefined };
    await this.waitFor(async (until) => {
      const ended = new Promise<never>((_, reject) => {
        until.addEventListener('abort', () => reject(until.reason), { once: true });
      });
      await Promise.race([done, ended]);
    }, signal);
  }

  /**
   * Waits for something of it.
   * @param wait ends with its signal, at the latest when all is here
   * @throws ThinError why it does not come; `canceled`
   */
  async waitFor(wait: (until: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
    if (this.#phase.kind === 'failed') throw this.#phase.error;
    const reader = new AbortController();
    const giveUp = () => reader.abort(canceled('Cannot wait for image: given up', signal.reason));
    signal.addEventListener('abort', giveUp);
    if (signal.aborted) giveUp();
    this.#readers.add(reader);
    try {
      await wait(reader.signal);
    } catch (error) {
      if (this.#phase.kind !== 'here' || signal.aborted) throw error;
    } finally {
      this.#readers.delete(reader);
      signal.removeEventListener('abort', giveUp);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(canceled('Cannot wait for image: nobody brings it any more', undefined));
    if (this.#phase.kind === 'coming') await this.#phase.done.catch(() => undefined);
    for (const reader of this.#readers) reader.abort(this.#stop.signal.reason);
  }

  async #run(bring: BringImage): Promise<void> {
    try {
      await this.#untilHere(bring);
      this.#phase = { kind: 'here' };
      for (const reader of this.#readers) reader.abort();
    } catch (error) {
      const failure = fromSystemError('Cannot bring image', error);
      this.#trouble = failure;
      this.#phase = { kind: 'failed', error: failure };
      for (const reader of this.#readers) reader.abort(failure);
      if (!this.#stop.signal.aborted) this.#onTrouble(describeError(failure), false);
      throw failure;
    }
  }

  async #untilHere(bring: BringImage): Promise<void> {
    const { signal } = this.#stop;
    for (let waitMs = retryMs; ; waitMs = Math.min(2 * waitMs, retryMsMax)) {
      try {
        return await bring(signal, (progress) => this.#note(progress));
      } catch (error) {
        const failure = fromSystemError('Cannot bring image', error);
        if (signal.aborted || !isThinError(failure, 'unavailable', 'no-space')) throw failure;
        this.#trouble = failure;
        this.#onTrouble(describeError(failure), true);
        await delay(waitMs, undefined, { signal });
      }
    }
  }

  #note({ layers }: PullProgress): void {
    const sum = (of: (layer: PullProgress['layers'][number]) => number) =>
      layers.reduce((total, layer) => total + of(layer), 0);
    const total = sum(({ size }) => size);
    const here = sum(({ phase, size, stored }) => (phase === 'here' ? size : stored));
    this.#bytes = { total, missing: Math.max(0, total - here) };
    this.#trouble = undefined;
  }
}

function canceled(message: string, cause: unknown): ThinError {
  return new ThinError('canceled', message, { cause });
}
