import { setTimeout as wait } from 'node:timers/promises';
import type { Digest } from '../digest.js';
import { isThinError } from '../errors.js';
import type { CacheIndex } from './index-thread.js';
import type { TierFiles } from './tier-files.js';

/** Files looked at in one step. */
const pageFiles = 256;
/** Days after which a file is read again although nobody doubts it: disks forget. */
const trustedDays = 30;
const dayMs = 86_400_000;
/** Milliseconds between looks for such files, and the most of them that are read after a look. */
const lookMs = 60_000;
const filesPerLook = 512;
/** Bytes a second that are read for nobody; 20 GB take 20 minutes. */
const bytesPerSecond = 16 * 1024 * 1024;

/** Bytes between two words about the progress. */
const progressBytes = 32 * 1024 * 1024;

export interface VerifyResult {
  readonly files: number;
  readonly bytes: number;
  /** Files that were not what their name says; they are removed. */
  readonly wrong: readonly Digest[];
}

/** What the scrubber asks of the rest of the cache, and tells it. */
export interface ScrubEvents {
  /** True while nobody waits for anything. */
  idle(): boolean;
  /** The file is to be removed. */
  wrong(content: Digest): Promise<void>;
  failed(error: unknown): void;
}

/** Reads complete files again, to find what the disk has changed: slowly by itself, or all at once. */
export class Scrubber implements AsyncDisposable {
  readonly #files: TierFiles;
  readonly #index: CacheIndex;
  readonly #events: ScrubEvents;
  readonly #stop = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;

  constructor(files: TierFiles, index: CacheIndex, events: ScrubEvents) {
    this.#files = files;
    this.#index = index;
    this.#events = events;
  }

  /** From now on files that were not verified for long are, a few at a time. */
  start(): void {
    this.#timer = setInterval(() => void this.scrubOld(Date.now() - trustedDays * dayMs), lookMs);
    this.#timer.unref();
  }

  /** Verifies some of the files that were last verified before a time, unless it is going on. */
  scrubOld(before: number): Promise<void> {
    this.#running ??= this.#scrubOld(before)
      .catch((error: unknown) => this.#events.failed(error))
      .finally(() => {
        this.#running = undefined;
      });
    return this.#running;
  }

  async #scrubOld(before: number): Promise<void> {
    const { signal } = this.#stop;
    for (const { content, size } of await this.#index.call('unverified', before, filesPerLook)) {
      if (signal.aborted || !this.#events.idle()) return;
      const isVerified = await this.#scrub(content).then(() => true, this.#passOver);
      if (isVerified) await this.#index.call('markVerified', [content]);
      const restMs = (size / bytesPerSecond) * 1000;
      await wait(restMs, undefined, { signal }).catch(() => undefined);
    }
  }

  /** One that cannot be read keeps no other from being looked at, unless nothing can be read now. */
  readonly #passOver = (error: unknown): false => {
    if (isThinError(error, 'unavailable')) throw error;
    this.#events.failed(error);
    return false;
  };

  /**
   * Reads all complete files again, and removes those that are wrong. Partial files verify themselves.
   * @param onProgress told the bytes read so far
   * @throws ThinError `unavailable` if the index does not answer; the reason of `signal`
   */
  async verify(
    signal: AbortSignal,
    onProgress: (bytes: number) => void = () => undefined,
  ): Promise<VerifyResult> {
    const wrong: Digest[] = [];
    let files = 0;
    let bytes = 0;
    let told = 0;
    let after = '';
    for (;;) {
      const page = await this.#index.call('completeFiles', after, pageFiles);
      const last = page.at(-1);
      if (last === undefined) return { files, bytes, wrong };
      for (const { content, size } of page) {
        signal.throwIfAborted();
        if (!(await this.#scrub(content))) wrong.push(content);
        files++;
        bytes += size;
        if (bytes - told < progressBytes) continue;
        onProgress(bytes);
        told = bytes;
      }
      const contents = page.map(({ content }) => content);
      await this.#index.call('markVerified', contents);
      after = last.content.slice('sha256:'.length);
    }
  }

  /** False if the file was wrong, and is removed. */
  async #scrub(content: Digest): Promise<boolean> {
    if ((await this.#files.scrub(content)) !== false) return true;
    await this.#events.wrong(content);
    return false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.#stop.abort();
    await this.#running;
  }
}
