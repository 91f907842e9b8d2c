import { mapBounded } from '../cache/bounded.js';
import { type Digest, digestOf } from '../digest.js';
import { collect } from '../store/byte-stream.js';
import type { Blob } from '../store/store.js';
import type { ThinImageSource } from '../thin/image-store.js';
import { fetchName } from './pop-keys.js';
import type { SiteFetch } from './site-fetch.js';

/** Bytes of one part of a blob, and parts that are fetched at a time. */
const partBytes = 512 * 1024;
const partsInFlight = 8;

/**
 * Descriptors, metadata and chunk maps of images, in parts, from the nodes of the site or the image's store. Parts
 * have no digest of their own: a whole that is wrong is fetched again, from the store alone.
 */
export class PopBlobs implements ThinImageSource {
  readonly #store: ThinImageSource;
  readonly #site: SiteFetch;

  constructor(store: ThinImageSource, site: SiteFetch) {
    this.#store = store;
    this.#site = site;
  }

  async *openRange(
    blob: Blob,
    offset: number,
    length: number,
    signal: AbortSignal,
  ): AsyncGenerator<Buffer> {
    const whole = offset === 0 && length === blob.size;
    const bytes = whole && this.#site.ready ? await this.#readParts(blob, signal) : undefined;
    if (bytes) yield bytes;
    else yield* this.#store.openRange(blob, offset, length, signal);
  }

  /** Undefined if what has come is something else. */
  async #readParts(blob: Blob, signal: AbortSignal): Promise<Buffer | undefined> {
    const offsets = Array.from(
      { length: Math.ceil(blob.size / partBytes) },
      (_, at) => at * partBytes,
    );
    const parts = await mapBounded(offsets, partsInFlight, (offset) =>
      this.#readPart(blob, offset, Math.min(partBytes, blob.size - offset), signal),
    );
    const bytes = Buffer.concat(parts);
    return digestOf(bytes) === blob.digest ? bytes : undefined;
  }

  #readPart(blob: Blob, offset: number, length: number, signal: AbortSignal): Promise<Buffer> {
    const piece = {
      name: fetchName('blob', `${blob.digest} ${offset} ${length}`),
      background: () => false,
      read: async (bytes: Buffer) => (bytes.length === length ? bytes : undefined),
      fetch: async () => {
        const source = this.#store.openRange(blob, offset, length, signal);
        const bytes = await collect(source, length, `a part of ${blob.digest}`);
        return { value: bytes, bytes };
      },
      stuck: () => false,
    };
    return this.#site.get(piece, signal);
  }

  /** What a tag means now, its registry tells. */
  tagged(repository: string, tag: string, signal: AbortSignal) {
    return this.#store.tagged(repository, tag, signal);
  }

  referrers(repository: string, subject: Digest, type: string | undefined, signal: AbortSignal) {
    return this.#store.referrers(repository, subject, type, signal);
  }

  readManifest(manifest: Blob, signal: AbortSignal) {
    return this.#store.readManifest(manifest, signal);
  }

  toString(): string {
    return this.#store.toString();
  }
}
