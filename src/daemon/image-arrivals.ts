import type { Logger } from 'pino';
import type { FileCache } from '../cache/file-cache.js';
import type { FileRef } from '../cache/file-origin.js';
import { type Digest, parseDigest } from '../digest.js';
import { FileArrivals } from '../pull/file-arrivals.js';
import { formatSize } from '../units.js';
import type { CompletionStatus } from './control-api.js';
import type { CallContext } from './control-server.js';
import { type BringImage, ImageArrival } from './image-arrival.js';
import type { ImageFolder, ImageRecord } from './image-folder.js';

export interface ArrivalsOptions {
  readonly cache: Pick<FileCache, 'has' | 'pinnedImages'>;
  readonly images: ImageFolder;
  readonly log: Logger;
}

/** Who wants to use an image. */
type Asking = Pick<CallContext, 'signal' | 'note' | 'pull'>;

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
  #stopped: boolean = false;

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
    if (this.#stopped) return;
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
   * Ends when the image may be used: at once, unless it does not come, or `whole` is wanted. One that has
   * failed, or waits to be tried again, is tried again.
   * @throws ThinError why it does not come; `canceled`
   */
  async usable({ manifest, references }: ImageRecord, whole: boolean, who: Asking): Promise<void> {
    const arrival = this.#arrivals.get(parseDigest(manifest));
    if (!arrival) return;
    if (!whole && !arrival.isStuck) return arrival.hurry();
    const { totalBytes, missingBytes } = arrival.status;
    const sizes = `${formatSize(missingBytes)} of ${formatSize(totalBytes)} are missing`;
    const known = totalBytes > 0 ? `, ${sizes}` : '';
    who.note(`${references[0] ?? manifest}: it is on its way and waited for${known}`);
    await arrival.complete(who.signal, (progress, digests) => who.pull(digests, progress));
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

  /** Nothing is brought any more; who waits goes on to wait, until this is disposed. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all([...this.#arrivals.values()].map((arrival) => arrival.stop()));
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
