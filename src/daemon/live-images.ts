import type { FileCache } from '../cache/file-cache.js';
import type { Digest } from '../digest.js';
import { ThinError } from '../errors.js';
import type { Store } from '../store/store.js';
import type { FetchCounters } from './control-api.js';
import type { ImageFolder } from './image-folder.js';
import { LiveImage } from './live-image.js';
import type { Stores } from './stores.js';

/** The images that were used since the daemon started, each opened once. */
export class LiveImages {
  readonly #images: ImageFolder;
  readonly #cache: FileCache;
  readonly #stores: Stores;
  readonly #live = new Map<Digest, Promise<LiveImage>>();
  readonly #opened = new Map<Digest, LiveImage>();

  constructor(images: ImageFolder, cache: FileCache, stores: Stores) {
    this.#images = images;
    this.#cache = cache;
    this.#stores = stores;
  }

  /** @throws ThinError `not-found`; `corrupt` if its files on this node were damaged */
  get(manifest: Digest): Promise<LiveImage> {
    const known = this.#live.get(manifest);
    if (known) return known;
    const opening = LiveImage.open(this.#images, manifest, this.#cache, () => this.#open(manifest));
    this.#live.set(manifest, opening);
    opening.then(
      (image) => this.#opened.set(manifest, image),
      () => this.#live.delete(manifest),
    );
    return opening;
  }

  /** The image if it has been opened already. */
  peek(manifest: Digest): LiveImage | undefined {
    return this.#opened.get(manifest);
  }

  fetched(manifest: Digest): FetchCounters {
    return this.#opened.get(manifest)?.fetched ?? { requests: 0, bytes: 0, failures: 0 };
  }

  forget(manifest: Digest): void {
    this.#live.delete(manifest);
    this.#opened.delete(manifest);
  }

  #open(manifest: Digest): Store[] {
    const sources = this.#images.get(manifest)?.sources ?? [];
    if (sources.length > 0) return sources.map((source) => this.#stores.open(source));
    throw new ThinError('not-found', `Cannot fetch files of ${manifest}: it has no source`);
  }
}
