import type { FileCache } from '../cache/file-cache.js';
import { parseDigest } from '../digest.js';
import { describeError, fromSystemError } from '../errors.js';
import type { ImageLayer } from '../image/image-config.js';
import type { PointOfPresence } from '../pop/point-of-presence.js';
import type { ImagePuller, PulledImage } from '../pull/image-puller.js';
import type { PullLayer } from '../pull/layer-source.js';
import type { PullMode } from '../pull/pull-mode.js';
import type { PullProgress } from '../pull/pull-run.js';
import type { RegistryClient } from '../registry/registry-client.js';
import type { ImageFolder, NewImage } from './image-folder.js';

export interface FullPullParts {
  readonly root: string;
  readonly cache: FileCache;
  readonly images: ImageFolder;
  /** The nodes that share what they fetch, if there are any. */
  readonly site: PointOfPresence | undefined;
  readonly log: { warn(details: object, message: string): void };
}

/** An image that is to come whole, and how. */
export interface FullPull {
  readonly client: RegistryClient;
  /** All that is known of it before its layers are here. */
  readonly image: Omit<NewImage, 'kind' | 'files' | 'fileBytes'>;
  readonly config: Buffer;
  /** Lowest first. */
  readonly layers: readonly ImageLayer[];
  readonly mode: PullMode;
  /** @see FullPulls.prepare */
  readonly prepared: AsyncDisposable | undefined;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: PullProgress) => void;
}

/**
 * Images that come whole. An image can be used as soon as its last byte is stored; making it durable
 * goes on behind that, and until it is done a crash costs another pull: see `dropUnpinned`.
 */
export class FullPulls implements AsyncDisposable {
  readonly #parts: FullPullParts;
  readonly #pinning = new Set<Promise<void>>();
  #puller: Promise<ImagePuller> | undefined;

  constructor(parts: FullPullParts) {
    this.#parts = parts;
  }

  /**
   * Loads and starts what a pull needs, while its manifest is asked for; it ends when it is disposed, if no
   * pull has begun. Never fails, nor does its end.
   */
  prepare(): AsyncDisposable {
    const prepared = this.#readyPuller()
      .then((puller) => puller.prepare())
      .catch(() => undefined); // the pull fails of it, and says so
    const end = async () => (await prepared)?.[Symbol.asyncDispose]();
    return { [Symbol.asyncDispose]: () => end().catch(() => undefined) };
  }

  /** @throws ThinError as ImagePuller.pull does */
  async pull({ client, image, config, layers, prepared, ...options }: FullPull): Promise<void> {
    const puller = await this.#readyPuller();
    const pulling = puller.pull({
      ...options,
      image: image.manifest,
      layers: layers.map((layer) => this.#throughSite(client, layer)),
    });
    const [pulled] = await Promise.all([pulling, prepared?.[Symbol.asyncDispose]()]);
    try {
      const { files, plainBytes, metadata } = pulled;
      const record = { ...image, kind: 'pulled', files, fileBytes: plainBytes } as const;
      await this.#parts.images.add(record, { config, metadata }, { synced: false });
    } catch (error) {
      await pulled[Symbol.asyncDispose]();
      throw error;
    }
    this.#pinLater(pulled, image.manifest);
  }

  #throughSite(client: RegistryClient, { descriptor, diffId }: ImageLayer): PullLayer {
    const open: PullLayer['open'] = (signal, range) =>
      client.blob(descriptor, { ...range, hashedByCaller: true, signal });
    const { site } = this.#parts;
    if (!site) return { descriptor, diffId, open };
    const blob = { digest: parseDigest(descriptor.digest), size: descriptor.size };
    const layer = site.layer({ blob, open, knowsRanges: () => client.knowsRanges });
    return { descriptor, diffId, open: (signal, range) => layer.open(signal, range) };
  }

  #pinLater(pulled: PulledImage, image: string): void {
    const pinning = pulled
      .pin()
      .finally(() => pulled[Symbol.asyncDispose]())
      .catch((error: unknown) => {
        const reason = describeError(error);
        this.#parts.log.warn({ image, reason }, 'a pulled image cannot be made durable');
      })
      .finally(() => this.#pinning.delete(pinning));
    this.#pinning.add(pinning);
  }

  /** Loaded when it is wanted: most daemons pull nothing. What fails, on a full disk say, is tried again. */
  #readyPuller(): Promise<ImagePuller> {
    this.#puller ??= this.#openPuller().catch((error: unknown) => {
      this.#puller = undefined;
      throw fromSystemError('Cannot prepare a pull', error);
    });
    return this.#puller;
  }

  async #openPuller(): Promise<ImagePuller> {
    const { ImagePuller } = await import('../pull/image-puller.js');
    return ImagePuller.open(this.#parts.cache, this.#parts.root);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#pinning);
  }
}

/** Removes the pulled images that were not durable yet when the daemon or the machine stopped. */
export async function dropUnpinned({
  cache,
  images,
}: Pick<FullPullParts, 'cache' | 'images'>): Promise<void> {
  const pinned = new Set<string>(await cache.pinnedImages());
  for (const { kind, manifest } of images.list()) {
    if (kind === 'pulled' && !pinned.has(manifest)) await images.remove(parseDigest(manifest));
  }
}
