import type { FileCache } from '../cache/file-cache.js';
import { type Digest, parseDigest } from '../digest.js';
import { describeError, fromSystemError } from '../errors.js';
import type { ImageLayer } from '../image/image-config.js';
import type { PointOfPresence } from '../pop/point-of-presence.js';
import type { ImagePuller, KnownImage, PulledImage, PullOptions } from '../pull/image-puller.js';
import type { PullLayer } from '../pull/layer-source.js';
import type { PullMode } from '../pull/pull-mode.js';
import type { PullProgress } from '../pull/pull-run.js';
import type { RegistryClient } from '../registry/registry-client.js';
import type { ImageArrivals } from './image-arrivals.js';
import type { ImageFolder, NewImage } from './image-folder.js';
import type { Roots } from './roots.js';

export interface FullPullParts {
  readonly root: string;
  readonly cache: FileCache;
  readonly images: ImageFolder;
  /** The nodes that share what they fetch, if there are any. */
  readonly site: PointOfPresence | undefined;
  /** Those that are used before they are here. */
  readonly arrivals: ImageArrivals;
  readonly roots: Pick<Roots, 'refresh'>;
  readonly log: { warn(details: object, message: string): void };
}

/** An image that is to come whole. */
export interface WholeImage {
  readonly client: RegistryClient;
  /** All that is known of it before its layers are here. */
  readonly record: Omit<NewImage, 'kind' | 'files' | 'fileBytes'>;
  readonly config: Buffer;
  /** Lowest first. */
  readonly layers: readonly ImageLayer[];
}

/** Asks an image's registry for it, with the credentials of that moment. */
export type ReadImage = (signal: AbortSignal) => Promise<WholeImage>;

/** How it comes. */
export interface FullPull {
  readonly mode: PullMode;
  /** @see FullPulls.prepare */
  readonly prepared: AsyncDisposable | undefined;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: PullProgress) => void;
}

/**
 * Images that come whole. An image can be used as soon as its last byte is stored; making it durable
 * goes on behind that, and until it is done a crash costs another pull: see `WholeImages.resume`.
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
  async pull(image: WholeImage, { prepared, ...options }: FullPull): Promise<void> {
    const pulling = this.#bring(image, options);
    const [pulled] = await Promise.all([pulling, prepared?.[Symbol.asyncDispose]()]);
    try {
      await this.#keep(image, pulled);
    } catch (error) {
      await pulled[Symbol.asyncDispose]();
      throw error;
    }
    this.#pinLater(pulled, image.record.manifest);
  }

  /**
   * Lets an image be used at once whose layers are all known here from before; those of its files that
   * are gone come behind that.
   * @param again asked for the image before any try but the first
   * @returns undefined if a layer is not known: only its last byte tells what is in the image then
   */
  async begin(
    image: WholeImage,
    again: ReadImage,
    signal: AbortSignal,
  ): Promise<{ files: number; missing: number } | undefined> {
    const puller = await this.#readyPuller();
    const known = await puller.known(image.layers, signal);
    if (!known) return undefined;
    await using tree = known;
    const manifest = parseDigest(image.record.manifest);
    await this.#keep(image, tree);
    let first: WholeImage | undefined = image;
    this.resume(manifest, async (stop) => {
      const asked = first;
      first = undefined;
      return asked ?? (await again(stop));
    });
    return { files: tree.files, missing: tree.missing };
  }

  /** Brings the files of an image that is in use. @param read what its registry has of it */
  resume(manifest: Digest, read: ReadImage): void {
    const { images, arrivals, roots } = this.#parts;
    const way = { mode: 'auto', asItComes: true } as const;
    arrivals.begin(manifest, async (signal, tell) => {
      const image = await read(signal);
      const digests = digestsOf(image);
      const onProgress = (progress: PullProgress) => tell(progress, digests);
      await using pulled = await this.#bring(image, { ...way, signal, onProgress });
      if (!images.get(manifest)) return; // it was removed meanwhile
      await pulled.pin(images.path(manifest, 'metadata'));
      await roots.refresh(manifest);
    });
  }

  async #bring(
    { client, record, layers }: WholeImage,
    options: Omit<FullPull, 'prepared'> & Pick<PullOptions, 'asItComes'>,
  ): Promise<PulledImage> {
    const puller = await this.#readyPuller();
    return puller.pull({
      ...options,
      image: record.manifest,
      layers: layers.map((layer) => this.#throughSite(client, layer)),
    });
  }

  async #keep(image: WholeImage, { files, plainBytes, metadata }: KnownImage): Promise<void> {
    const record = { ...image.record, kind: 'pulled', files, fileBytes: plainBytes } as const;
    const { config } = image;
    await this.#parts.images.add(record, { config, metadata }, { synced: false });
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

  #pinLater(pulled: PulledImage, image: Digest): void {
    const pinning = pulled
      .pin(this.#parts.images.path(image, 'metadata'))
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
    const { cache, root, arrivals } = this.#parts;
    const { ImagePuller } = await import('../pull/image-puller.js');
    return ImagePuller.open(cache, root, { arrivals: arrivals.files });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#pinning);
  }
}

/** Of its layers, lowest first. */
export function digestsOf({ layers }: WholeImage): string[] {
  return layers.map(({ descriptor }) => descriptor.digest);
}
