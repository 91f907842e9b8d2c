import { LRUCache } from 'lru-cache';
import type { FileCache } from '../cache/file-cache.js';
import type { Digest } from '../digest.js';
import { ThinError } from '../errors.js';
import type { PointOfPresence } from '../pop/point-of-presence.js';
import { type CountedFrameSource, frameSource } from '../store/frame-source.js';
import type { Bandwidth } from '../store/paced-frames.js';
import type { PacksAhead } from '../store/packs-ahead.js';
import type { FetchCounters } from './control-api.js';
import type { ImageArrivals } from './image-arrivals.js';
import type { ImageFolder } from './image-folder.js';
import { LiveImage, type LoadedImage } from './live-image.js';
import type { Stores } from './stores.js';

/** Milliseconds that an image stays in memory after it was last asked for. */
const idleMs = 60_000;
/** Hot packs whose sizes are remembered: more than are used at a time. */
const hotPacksMax = 4096;

type PackSize = (pack: Digest) => number | undefined;

interface Opening {
  readonly image: Promise<LiveImage>;
  opened: LiveImage | undefined;
  idle: NodeJS.Timeout | undefined;
}

export interface LiveImagesOptions {
  readonly images: ImageFolder;
  readonly cache: FileCache;
  readonly stores: Stores;
  /** Of background work; unlimited if not given. */
  readonly bandwidth?: Bandwidth | undefined;
  /** Hot packs that were asked for while their images were being opened. */
  readonly ahead: PacksAhead;
  /** Whether more is fetched than is asked for. */
  readonly readsAhead: boolean;
  /** Pulled images that are used while they come. */
  readonly arrivals: ImageArrivals;
  /** An image has left memory. */
  readonly onRelease: () => void;
  /** The nodes near this one, which are asked before an image's origin. */
  readonly site?: PointOfPresence | undefined;
}

/**
 * The images that are being read. Trees and chunk maps take megabytes, and a mounted image whose
 * program has what it needs is asked for nothing: who was not asked for a while is let go of.
 */
export class LiveImages {
  readonly #options: LiveImagesOptions;
  readonly #live = new Map<Digest, Opening>();
  /** Bytes of the hot packs that are used. */
  readonly #hotPacks = new LRUCache<Digest, number>({ max: hotPacksMax });
  /** Where an image's frames come from stays: it counts, and costs little. */
  readonly #frames = new Map<Digest, CountedFrameSource>();

  /** Pulled images that are used while they come. */
  get arrivals(): ImageArrivals {
    return this.#options.arrivals;
  }

  constructor(options: LiveImagesOptions) {
    this.#options = options;
  }

  /**
   * @param loaded what is in memory of it, and need not be read
   * @throws ThinError `not-found`; `corrupt` if its files on this node were damaged
   */
  get(manifest: Digest, loaded?: LoadedImage): Promise<LiveImage> {
    const opening = this.#live.get(manifest) ?? this.#open(manifest, loaded);
    clearTimeout(opening.idle);
    opening.idle = setTimeout(() => this.#release(manifest, opening), idleMs).unref();
    return opening.image;
  }

  /** The image if it is in memory. */
  peek(manifest: Digest): LiveImage | undefined {
    return this.#live.get(manifest)?.opened;
  }

  fetched(manifest: Digest): FetchCounters {
    const total = { requests: 0, bytes: 0, failures: 0 };
    for (const count of this.#frames.get(manifest)?.counts() ?? []) {
      total.requests += count.requests;
      total.bytes += count.bytes;
      total.failures += count.failures;
    }
    return total;
  }

  /** The image is gone, or has changed. */
  forget(manifest: Digest): void {
    clearTimeout(this.#live.get(manifest)?.idle);
    this.#live.delete(manifest);
    this.#frames.delete(manifest);
  }

  #open(manifest: Digest, loaded: LoadedImage | undefined): Opening {
    const { images, cache, readsAhead, arrivals } = this.#options;
    const openFrames = (packSize: PackSize) => this.#openFrames(manifest, packSize);
    const settings = { furtherPacks: this.#hotPacks, readsAhead, arrivals };
    const image = LiveImage.open(images, manifest, cache, openFrames, { ...settings, loaded });
    const opening: Opening = { image, opened: undefined, idle: undefined };
    this.#live.set(manifest, opening);
    image.then(
      (opened) => {
        opening.opened = opened;
      },
      () => this.#release(manifest, opening),
    );
    return opening;
  }

  #release(manifest: Digest, opening: Opening): void {
    clearTimeout(opening.idle);
    if (this.#live.get(manifest) === opening) this.#live.delete(manifest);
    this.#options.onRelease();
  }

  #openFrames(manifest: Digest, packSize: PackSize): CountedFrameSource {
    const known = this.#frames.get(manifest);
    if (known) return known;
    const { images, stores, bandwidth, site, ahead } = this.#options;
    const sources = images.get(manifest)?.sources ?? [];
    if (sources.length === 0) {
      throw new ThinError('not-found', `Cannot fetch files of ${manifest}: it has no source`);
    }
    const origin = frameSource({
      stores: sources.map((source) => stores.open(source)),
      packSize: (pack) => packSize(pack) ?? this.#hotPacks.get(pack),
      // The reader's own deadline counts (reads-in-flight.ts): a fetch may have begun long before.
      deadlineMs: Number.POSITIVE_INFINITY,
      bandwidth,
    });
    const frames = site ? site.frames(origin) : ahead.frames(manifest, origin);
    this.#frames.set(manifest, frames);
    return frames;
  }
}
