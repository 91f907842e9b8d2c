import { type Digest, digestOf } from '../digest.js';
import { collect } from '../store/byte-stream.js';
import type { Blob } from '../store/store.js';
import type { ThinImageSource } from '../thin/image-store.js';
import { blobParts } from './blob-parts.js';
import type { Piece } from './piece.js';
import { fetchName } from './pop-keys.js';
import type { SiteFetch } from './site-fetch.js';

/** Milliseconds without a byte after which others try. */
const stallMs = 1500;

/**
 * Manifests, descriptors, metadata and chunk maps of images, from the nodes of the site or the image's store.
 * They go from node to node in parts, which have no digest of their own: one node fetches the whole,
 * and the others are told when it has verified that.
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
    const open = () => this.#store.openRange(blob, offset, length, signal);
    if (whole && this.#site.ready) yield await this.#site.get(this.#piece(blob, open), signal);
    else yield* open();
  }

  get comesWhole(): boolean {
    return this.#site.ready;
  }

  #piece(blob: Blob, open: () => AsyncIterable<Buffer>): Piece<Buffer> {
    const ranges = blobParts(blob, 0, blob.size);
    const isRight = (bytes: Buffer) => digestOf(bytes) === blob.digest;
    let cameAt = Number.POSITIVE_INFINITY;
    return {
      name: fetchName('blob', `${blob.digest} ${blob.size}`),
      parts: ranges.map(({ name }) => name),
      whole: true,
      background: () => false,
      read: async (parts) => {
        const bytes = Buffer.concat(parts);
        return isRight(bytes) ? bytes : undefined;
      },
      fetch: async () => {
        cameAt = performance.now();
        const told = tapped(open(), () => {
          cameAt = performance.now();
        });
        const value = await collect(told, blob.size, `blob ${blob.digest}`);
        const parts = ranges.map(({ start, end }) => value.subarray(start, end));
        return { value, parts: isRight(value) ? parts : undefined };
      },
      stuck: () => performance.now() - cameAt > stallMs,
    };
  }

  /** What a tag means now, its registry tells. */
  tagged(repository: string, tag: string, signal: AbortSignal) {
    return this.#store.tagged(repository, tag, signal);
  }

  referrers(repository: string, subject: Digest, type: string | undefined, signal: AbortSignal) {
    return this.#store.referrers(repository, subject, type, signal);
  }

  async readManifest(manifest: Blob, signal: AbortSignal): Promise<Buffer> {
    const read = () => this.#store.readManifest(manifest, signal);
    if (!this.#site.ready) return await read();
    return await this.#site.get(
      this.#piece(manifest, () => one(read)),
      signal,
    );
  }

  toString(): string {
    return this.#store.toString();
  }
}

async function* tapped(source: AsyncIterable<Buffer>, onBytes: () => void): AsyncGenerator<Buffer> {
  for await (const bytes of source) {
    onBytes();
    yield bytes;
  }
}

async function* one(read: () => Promise<Buffer>): AsyncGenerator<Buffer> {
  yield await read();
}
