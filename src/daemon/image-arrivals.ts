import type { Logger } from 'pino';
import type { FileCache } from '../cache/file-cache.js';
import type { FileRef } from '../cache/file-origin.js';
import { type Digest, parseDigest } from '../digest.js';
import { FileArrivals } from '../pull/file-arrivals.js';
import type { CompletionStatus } from './control-api.js';
import { type BringImage, ImageArrival } from './image-arrival.js';
import type { ImageFolder } from './image-folder.js';

export interface ArrivalsOptions {
  readonly cache: Pick<FileCache, 'has' | 'pinnedImages'>;
  readonly images: ImageFolder;
  readonly log: Logger;
}

/**
 * Images that are used while their files are still on their way: their trees are known from before, and
 * were verified then. Who reads a file that has not come waits for it.
 */
export class ImageArrivals implements AsyncDisposable {
  /** To be told of all files that pulls store. */
  readonly files = new FileArrivals();
  /** The pulled images that were not durable yet when the last daemon, or the machine, stopped. */
  readonly unfinished: readonly Digest[];
  readonly #options: ArrivalsOptions;
  readonly #arrivals = new Map<Digest, ImageArrival>();

  /** What is read of unfinished images waits from now on, until it is known how they come. */
  static async open(options: ArrivalsOptions): Promise<ImageArrivals> {
    const pinned = new Set<string>(await options.cache.pinnedImages());
    const unfinished = options.images
      .list()
      .filter(({ kind, manifest }) => kind === 'pulled' && !pinned.has(manifest))
      .map(({ manifest }) => parseDigest(manifest));
    return new ImageArrivals(options, unfinished);
  }

  private constructor(options: ArrivalsOptions, unfinished: readonly Digest[]) {
    this.#options = options;
    this.unfinished = unfinished;
    for (const manifest of unfinished) this.#of(manifest);
  }

  /** Brings the image behind its readers, again and again while its source is away. */
  begin(manifest: Digest, bring: BringImage): void {
    const arrival = this.#of(manifest);
    arrival.begin(async (signal, onProgress) => {
      await bring(signal, onProgress);
      if (this.#arrivals.get(manifest) === arrival) this.#arrivals.delete(manifest);
    });
  }

  /** Undefined for an image that is all here, or does not come by itself. */
  status(manifest: Digest): CompletionStatus | undefined {
    return this.#arrivals.get(manifest)?.status;
  }

  /**
   * Ends when the image may be used: at once, unless it has failed to come, or `whole` is wanted. One that
   * has failed is tried again.
   * @throws ThinError why it does not come; `canceled`
   */
  async usable(manifest: Digest, whole: boolean, signal: AbortSignal): Promise<void> {
    const arrival = this.#arrivals.get(manifest);
    if (arrival && (whole || arrival.hasFailed)) await arrival.complete(signal);
  }

  /** As `FileOrigin.arrives` has it. */
  async arrives(manifest: Digest, { content }: FileRef, signal: AbortSignal): Promise<boolean> {
    const arrival = this.#arrivals.get(manifest);
    if (!arrival) return false;
    await arrival.waitFor(
      (until) => this.files.wait(content, () => this.#options.cache.has(content), until),
      signal,
    );
    return true;
  }

  /** Why the image does not come now. */
  trouble(manifest: Digest): Error | undefined {
    return this.#arrivals.get(manifest)?.trouble;
  }

  /** Nobody wants it any more. */
  async forget(manifest: Digest): Promise<void> {
    const arrival = this.#arrivals.get(manifest);
    this.#arrivals.delete(manifest);
    await arrival?.[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const manifest of [...this.#arrivals.keys()]) await this.forget(manifest);
  }

  #of(manifest: Digest): ImageArrival {
    const arrival =
      this.#arrivals.get(manifest) ??
      new ImageArrival((reason, again) =>
        this.#options.log.warn({ manifest, reason, again }, 'an image in use does not come'),
      );
    this.#arrivals.set(manifest, arrival);
    return arrival;
  }
}
