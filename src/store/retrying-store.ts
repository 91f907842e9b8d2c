import { isThinError } from '../errors.js';
import type { Clock } from './clock.js';
import { backoffDelay, type RetryPolicy, retrying } from './retry.js';
import type { Blob, FetchOptions, ListedManifest, Store } from './store.js';
import { storeError } from './store-error.js';

/** A few attempts in about two seconds: enough for a dropped connection, not for an outage. */
const policy: RetryPolicy = {
  attemptsMax: 4,
  delayMs: 100,
  delayMaxMs: 1000,
  retryAfterMaxMs: 10_000,
};

/** A store whose reads are tried again while it is `unavailable`; a stream goes on where it broke. */
export class RetryingStore implements Store {
  readonly #store: Store;
  readonly #clock: Clock;

  constructor(store: Store, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  async *openRange(
    blob: Blob,
    offset: number,
    length: number,
    signal: AbortSignal,
    options?: FetchOptions,
  ): AsyncGenerator<Buffer> {
    let done = 0;
    for (let failed = 0; ; ) {
      try {
        const rest = this.#store.openRange(blob, offset + done, length - done, signal, options);
        for await (const bytes of rest) {
          done += bytes.length;
          failed = 0;
          yield bytes;
        }
        return;
      } catch (error) {
        failed++;
        const retried = isThinError(error, 'unavailable') && options?.once !== true;
        if (!retried || failed >= policy.attemptsMax) throw error;
        await this.#sleep(backoffDelay(policy, failed - 1, error), signal);
      }
    }
  }

  readManifest(manifest: Blob, signal: AbortSignal): Promise<Buffer> {
    return this.#retry(signal, () => this.#store.readManifest(manifest, signal));
  }

  referrers(
    ...[repository, subject, artifactType, signal]: Parameters<Store['referrers']>
  ): Promise<ListedManifest[]> {
    return this.#retry(signal, () =>
      this.#store.referrers(repository, subject, artifactType, signal),
    );
  }

  tagged(...[repository, tag, signal]: Parameters<Store['tagged']>): Promise<ListedManifest[]> {
    return this.#retry(signal, () => this.#store.tagged(repository, tag, signal));
  }

  async #retry<T>(signal: AbortSignal, attempt: () => Promise<T>): Promise<T> {
    try {
      return await retrying(policy, this.#clock, signal, attempt);
    } catch (error) {
      throw storeError(`Cannot read from ${this}`, error, signal);
    }
  }

  async #sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
    try {
      await this.#clock.sleep(milliseconds, signal);
    } catch (error) {
      throw storeError(`Cannot read from ${this}`, error, signal);
    }
  }

  toString(): string {
    return this.#store.toString();
  }
}
