import { setTimeout as delay } from 'node:timers/promises';
import { describeError, fromSystemError, isThinError, ThinError } from '../errors.js';
import type { PullProgress } from '../pull/pull-run.js';
import type { CompletionStatus } from './control-api.js';

/** Told how it comes. @param digests of its layers as the registry has them, lowest first */
export type OnArrival = (progress: PullProgress, digests: readonly string[]) => void;

/** Brings all of an image; ends when it is here for good. */
export type BringImage = (signal: AbortSignal, onProgress: OnArrival) => Promise<void>;

/** Milliseconds until it is tried again: twice as long each time, up to the most. */
const retryMs = 1000;
const retryMsMax = 30_000;

/** How one image comes: `expected` until somebody brings it; `failed` where trying again is of no use. */
type Phase =
  | { readonly kind: 'expected' }
  | { readonly kind: 'coming'; readonly done: Promise<void> }
  | { readonly kind: 'here' }
  | { readonly kind: 'failed'; readonly error: ThinError };

/** Somebody who waits for a file of it; or for `all` of it, and is told what comes of the next whole try. */
interface Waiter {
  readonly end: AbortController;
  readonly all?: { readonly onProgress: OnArrival; readonly triesBefore: number };
}

/** One image on its way here, while programs use what has come of it. */
export class ImageArrival implements AsyncDisposable {
  readonly #onTrouble: (reason: string, again: boolean) => void;
  readonly #stop = new AbortController();
  readonly #waiters = new Set<Waiter>();
  #bring: BringImage | undefined;
  #phase: Phase = { kind: 'expected' };
  #trouble: ThinError | undefined;
  /** How often it was begun to bring it. */
  #tries = 0;
  #endPause: () => void = () => {};
  /** Compressed. */
  #bytes = { total: 0, missing: 0 };
  #missingLeast = Number.POSITIVE_INFINITY;

  /** @param onTrouble told why it did not come, and whether it is tried again */
  constructor(onTrouble: (reason: string, again: boolean) => void) {
    this.#onTrouble = onTrouble;
  }

  /** It does not come before somebody does something about it. */
  get isStuck(): boolean {
    return this.#phase.kind === 'failed' || isThinError(this.#trouble, 'denied');
  }

  get trouble(): ThinError | undefined {
    return this.#trouble;
  }

  get status(): CompletionStatus {
    const { total: totalBytes, missing: missingBytes } = this.#bytes;
    const state = this.#phase.kind === 'failed' ? 'failed' : 'running';
    const reason = this.#trouble?.message;
    return { state, totalBytes, missingBytes, ...(reason !== undefined && { reason }) };
  }

  begin(bring: BringImage): void {
    this.#bring = bring;
    if (this.#phase.kind === 'coming' || this.#stop.signal.aborted) return;
    const done = this.#run(bring);
    this.#phase = { kind: 'coming', done };
    done.catch(() => undefined); // is told to who waits, and logged
  }

  /** What waits to be tried again is tried now: somebody may have done something about it. */
  hurry(): void {
    this.#endPause();
  }

  /**
   * Ends when all of it is here; one that has failed is tried again.
   * @throws ThinError why a try failed that began after this was called: later ones may not; `canceled`
   */
  async complete(signal: AbortSignal, onProgress: OnArrival): Promise<void> {
    if (this.#phase.kind === 'here') return;
    const triesBefore = this.#tries;
    if (this.#phase.kind === 'failed' && this.#bring) this.begin(this.#bring);
    this.hurry();
    await this.#wait(untilAborted, signal, { onProgress, triesBefore });
  }

  /**
   * Waits for something of it.
   * @param wait ends with its signal, at the latest when all is here
   * @throws ThinError why it does not come; `canceled`
   */
  async waitFor(wait: (until: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
    await this.#wait(wait, signal);
  }

  async #wait(
    wait: (until: AbortSignal) => Promise<void>,
    signal: AbortSignal,
    all?: Waiter['all'],
  ): Promise<void> {
    if (this.#phase.kind === 'failed') throw this.#phase.error;
    const end = new AbortController();
    const waiter = { end, ...(all && { all }) };
    const giveUp = () => end.abort(canceled('Cannot wait for image: given up', signal.reason));
    signal.addEventListener('abort', giveUp);
    if (signal.aborted) giveUp();
    this.#waiters.add(waiter);
    try {
      await wait(end.signal);
    } catch (error) {
      if (this.#phase.kind !== 'here' || signal.aborted) throw error;
    } finally {
      this.#waiters.delete(waiter);
      signal.removeEventListener('abort', giveUp);
    }
  }

  /** It is brought no further, for good; who waits goes on to wait, until this is disposed. */
  async stop(): Promise<void> {
    this.#stop.abort(canceled('Cannot wait for image: nobody brings it any more', undefined));
    this.hurry();
    if (this.#phase.kind === 'coming') await this.#phase.done.catch(() => undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    for (const { end } of this.#waiters) end.abort(this.#stop.signal.reason);
  }

  async #run(bring: BringImage): Promise<void> {
    try {
      await this.#untilHere(bring);
      this.#phase = { kind: 'here' };
      for (const { end } of this.#waiters) end.abort();
    } catch (error) {
      const failure = fromSystemError('Cannot bring image', error);
      if (this.#stop.signal.aborted) this.#phase = { kind: 'expected' };
      else this.#fail(failure);
      throw failure;
    }
  }

  #fail(failure: ThinError): void {
    this.#trouble = failure;
    this.#phase = { kind: 'failed', error: failure };
    for (const { end } of this.#waiters) end.abort(failure);
    this.#onTrouble(describeError(failure), false);
  }

  async #untilHere(bring: BringImage): Promise<void> {
    const { signal } = this.#stop;
    for (let waitMs = retryMs; ; waitMs = Math.min(2 * waitMs, retryMsMax)) {
      this.#tries += 1;
      try {
        return await bring(signal, (progress, digests) => this.#note(progress, digests));
      } catch (error) {
        const failure = fromSystemError('Cannot bring image', error);
        // Who is denied now may be given credentials.
        const passes = isThinError(failure, 'unavailable', 'no-space', 'denied');
        if (signal.aborted || !passes) throw failure;
        this.#trouble = failure;
        this.#onTrouble(describeError(failure), true);
        const isAwaited = this.#tellTry(failure);
        if (!isAwaited) await this.#pause(waitMs);
        signal.throwIfAborted();
      }
    }
  }

  /** @returns whether somebody waits for all of it who came while this try went on */
  #tellTry(failure: ThinError): boolean {
    const waiters = [...this.#waiters].filter(({ all }) => all !== undefined);
    const told = waiters.filter(({ all }) => all && all.triesBefore < this.#tries);
    for (const { end } of told) end.abort(failure);
    return told.length < waiters.length;
  }

  async #pause(ms: number): Promise<void> {
    const end = new AbortController();
    this.#endPause = () => end.abort();
    await delay(ms, undefined, { signal: end.signal }).catch(() => undefined);
    this.#endPause = () => {};
  }

  #note(progress: PullProgress, digests: readonly string[]): void {
    const { layers } = progress;
    const sum = (of: (layer: PullProgress['layers'][number]) => number) =>
      layers.reduce((total, layer) => total + of(layer), 0);
    const total = sum(({ size }) => size);
    const here = sum(({ phase, size, stored }) => (phase === 'here' ? size : stored));
    const missing = Math.max(0, total - here);
    this.#bytes = { total, missing };
    // A try that has just begun counts again what others have brought.
    if (missing < this.#missingLeast) this.#trouble = undefined;
    this.#missingLeast = Math.min(missing, this.#missingLeast);
    for (const { all } of this.#waiters) all?.onProgress(progress, digests);
  }
}

/** @throws its reason */
function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const end = () => reject(signal.reason);
    signal.addEventListener('abort', end, { once: true });
    if (signal.aborted) end();
  });
}

function canceled(message: string, cause: unknown): ThinError {
  return new ThinError('canceled', message, { cause });
}
