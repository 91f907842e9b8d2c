import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { PauseSwitch } from '../cache/pause-switch.js';
import type { CompletionMode } from '../config.js';
import { type Digest, parseDigest } from '../digest.js';
import { describeError, isThinError } from '../errors.js';
import type { CompletionStatus } from './control-api.js';
import type { ImageFolder } from './image-folder.js';
import type { LiveImages } from './live-images.js';
import type { Roots } from './roots.js';

/** Milliseconds between two looks at what is mounted. */
const lookMs = 2_000;
/** Milliseconds in which nothing was fetched for an image: its program has what it needs. */
const idleMs = 10_000;
/** Milliseconds before an image that could not be completed is tried again. */
const retryMs = 5 * 60_000;

export interface CompletionsOptions {
  readonly mode: CompletionMode;
  readonly images: ImageFolder;
  readonly live: LiveImages;
  readonly roots: Roots;
  /** Digests of the manifests of what is mounted. */
  readonly mounted: () => readonly string[];
  readonly log: Logger;
}

/** What is known of an image's completion, and when to look again. */
interface Work {
  status: CompletionStatus;
  /** Requests when it was last looked at, and since when there were no more. */
  requests: number;
  quietSince: number;
  retryAt: number;
}

/**
 * Brings the rest of mounted images while nobody waits for anything, one image at a time. When an
 * image is all here, the kernel is made to look into the tiers again: then nothing of it needs us.
 */
export class Completions implements AsyncDisposable {
  readonly #options: CompletionsOptions;
  readonly #work = new Map<Digest, Work>();
  readonly #pause = new PauseSwitch();
  readonly #closing = new AbortController();
  readonly #loop: Promise<void>;

  constructor(options: CompletionsOptions) {
    this.#options = options;
    this.#loop = options.mode === 'never' ? Promise.resolve() : this.#run();
  }

  /** Undefined for images that are not mounted, or that nobody completes. */
  status(manifest: Digest): CompletionStatus | undefined {
    const arriving = this.#options.live.arrivals.status(manifest);
    if (arriving) return arriving;
    const status = this.#work.get(manifest)?.status;
    return status?.state === 'running' && this.#pause.paused
      ? { ...status, state: 'paused' }
      : status;
  }

  pause(paused: boolean): void {
    if (paused) this.#pause.pause();
    else this.#pause.resume();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      await delay(lookMs, undefined, { signal, ref: false }).catch(() => {});
      if (signal.aborted) return;
      const next = this.#next();
      if (next) await this.#complete(next, signal);
    }
  }

  /** An image whose turn it is. */
  #next(): Digest | undefined {
    const { images, mounted } = this.#options;
    const thin = [...new Set(mounted())].filter((manifest) => {
      return images.get(parseDigest(manifest))?.kind === 'thin';
    });
    const now = performance.now();
    for (const manifest of this.#work.keys()) {
      if (!thin.includes(manifest)) this.#work.delete(manifest);
    }
    return thin.map(parseDigest).find((manifest) => this.#isDue(manifest, now));
  }

  #isDue(manifest: Digest, now: number): boolean {
    const { mode, live } = this.#options;
    const { requests } = live.fetched(manifest);
    const work = this.#work.get(manifest);
    if (!work) {
      const status: CompletionStatus = { state: 'waiting', totalBytes: 0, missingBytes: 0 };
      this.#work.set(manifest, { status, requests, quietSince: now, retryAt: 0 });
      return mode === 'always';
    }
    if (work.requests !== requests) Object.assign(work, { requests, quietSince: now });
    if (work.status.state === 'complete' || now < work.retryAt) return false;
    return mode === 'always' || now - work.quietSince >= idleMs;
  }

  async #complete(manifest: Digest, signal: AbortSignal): Promise<void> {
    const { live, roots, log } = this.#options;
    const work = this.#work.get(manifest);
    if (!work) return;
    try {
      const image = await live.get(manifest);
      const pause = this.#pause;
      const { totalBytes } = await image.complete({
        signal,
        pause,
        onProgress: (progress) => {
          work.status = { state: 'running', ...progress };
        },
      });
      await roots.refresh(manifest);
      work.status = { state: 'complete', totalBytes, missingBytes: 0 };
      log.info({ manifest, totalBytes }, 'all files of the image are here');
    } catch (error) {
      if (isThinError(error, 'canceled')) return;
      const reason = describeError(error);
      work.status = { ...work.status, state: 'failed', reason };
      work.retryAt = performance.now() + retryMs;
      log.warn({ manifest, reason }, 'the rest of the image cannot be fetched now');
    }
  }
}
