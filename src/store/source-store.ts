import type { Digest } from '../digest.js';
import type { OpenedStore } from './open-store.js';
import { type HealthyStore, type SourceHealth, watched } from './source-health.js';
import type { Blob, FetchOptions, ListedManifest, Store } from './store.js';

/** Opens the connections of a store; talks to nobody before it is asked for something. */
export type OpenSource = () => Promise<OpenedStore<Store>>;

/**
 * A store as a long-lived process has it: opened when it is first used, and opened anew with other
 * credentials while reads go on. Frames tell their outcome to `health` themselves (gated-frames.ts).
 */
export class SourceStore implements HealthyStore, AsyncDisposable {
  readonly health: SourceHealth;
  readonly #name: string;
  #open: OpenSource;
  #opened: Promise<OpenedStore<Store>> | undefined;

  /** @param name for people, without secrets */
  constructor(name: string, health: SourceHealth, open: OpenSource) {
    this.#name = name;
    this.health = health;
    this.#open = open;
  }

  /** From now on goes this way. What is under way ends as `canceled`, and may be asked for again. */
  async reopen(open: OpenSource): Promise<void> {
    const before = this.#opened;
    this.#open = open;
    this.#opened = undefined;
    await close(before);
    this.health.wake();
  }

  async *openRange(
    blob: Blob,
    offset: number,
    length: number,
    signal: AbortSignal,
    options?: FetchOptions,
  ): AsyncGenerator<Buffer> {
    yield* (await this.#store()).openRange(blob, offset, length, signal, options);
  }

  async readManifest(manifest: Blob, signal: AbortSignal): Promise<Buffer> {
    const store = await this.#store();
    return watched(this.health, signal, () => store.readManifest(manifest, signal));
  }

  async referrers(
    repository: string,
    subject: Digest,
    artifactType: string | undefined,
    signal: AbortSignal,
  ): Promise<ListedManifest[]> {
    const store = await this.#store();
    return watched(this.health, signal, () =>
      store.referrers(repository, subject, artifactType, signal),
    );
  }

  async tagged(repository: string, tag: string, signal: AbortSignal): Promise<ListedManifest[]> {
    const store = await this.#store();
    return watched(this.health, signal, () => store.tagged(repository, tag, signal));
  }

  /** One that cannot be opened is tried again by the next call. */
  async #store(): Promise<Store> {
    this.#opened ??= this.#open();
    const opening = this.#opened;
    try {
      return (await opening).store;
    } catch (error) {
      if (this.#opened === opening) this.#opened = undefined;
      throw error;
    }
  }

  toString(): string {
    return this.#name;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const opened = this.#opened;
    this.#opened = undefined;
    await close(opened);
  }
}

async function close(opened: Promise<OpenedStore<Store>> | undefined): Promise<void> {
  const store = await opened?.catch(() => undefined);
  await store?.[Symbol.asyncDispose]();
}
