import type { Digest } from '../digest.js';
import { isThinError, ThinError } from '../errors.js';
import { mediaTypes } from '../image/media-type.js';
import { isTag } from '../image/reference.js';
import type { RegistryClient } from '../registry/registry-client.js';
import { verified } from './byte-stream.js';
import { isListed, parseManifestList } from './manifest-list.js';
import type {
  Blob,
  FetchOptions,
  ListedManifest,
  MountingStore,
  NewManifest,
  OpenBytes,
} from './store.js';
import { storeError } from './store-error.js';

/**
 * One repository of an OCI registry as a store. The `repository` of its methods is not looked at: thin
 * images lie in the repository that the client was opened for. The client retries by itself.
 */
export class RegistryStore implements MountingStore {
  readonly #client: RegistryClient;

  /** @param client whoever opened it closes it */
  constructor(client: RegistryClient) {
    this.#client = client;
  }

  async *openRange(
    blob: Blob,
    offset: number,
    length: number,
    signal: AbortSignal,
    { once }: FetchOptions = {},
  ): AsyncGenerator<Buffer> {
    try {
      yield* this.#client.blob(blob, { offset, length, signal, once });
    } catch (error) {
      throw this.#error('read', blob, error, signal);
    }
  }

  async readManifest({ digest, size }: Blob, signal: AbortSignal): Promise<Buffer> {
    const { bytes } = await this.#client.manifest(digest, signal);
    if (bytes.length === size) return bytes;
    throw new ThinError(
      'corrupt',
      `Cannot read manifest ${digest} of ${this}: ${bytes.length} bytes (wanted ${size})`,
    );
  }

  async referrers(
    _: string,
    subject: Digest,
    artifactType: string | undefined,
    signal: AbortSignal,
  ): Promise<ListedManifest[]> {
    return (await this.#client.referrers(subject, artifactType, signal)).filter(isListed);
  }

  async tagged(_: string, tag: string, signal: AbortSignal): Promise<ListedManifest[]> {
    const thinTag = thinTagOf(tag);
    if (thinTag === undefined) return [];
    try {
      return parseManifestList((await this.#client.manifest(thinTag, signal)).bytes);
    } catch (error) {
      if (isThinError(error, 'not-found')) return [];
      throw error;
    }
  }

  async hasBlob(blob: Blob, signal: AbortSignal): Promise<boolean> {
    try {
      return await this.#client.hasBlob(blob.digest, signal);
    } catch (error) {
      throw this.#error('look for', blob, error, signal);
    }
  }

  async putBlob(blob: Blob, open: OpenBytes, signal: AbortSignal): Promise<void> {
    // The registry verifies the whole; here an upload that is wrong ends before its last byte.
    const checked: OpenBytes = (offset) => (offset === 0 ? verified(open(0), blob) : open(offset));
    try {
      await this.#client.pushBlob(blob, checked, signal);
    } catch (error) {
      throw this.#error('write', blob, error, signal);
    }
  }

  async mountBlob(blob: Blob, fromRepository: string, signal: AbortSignal): Promise<boolean> {
    return await this.#client.mountBlob(blob.digest, fromRepository, signal);
  }

  async putManifest(manifest: NewManifest, signal: AbortSignal): Promise<void> {
    const { listed, bytes, replaces } = manifest;
    await this.#client.pushReferrer(bytes, listed.mediaType, signal, replaces);
  }

  async putTag(_: string, tag: string, index: Buffer, signal: AbortSignal): Promise<void> {
    const thinTag = thinTagOf(tag);
    if (thinTag === undefined) return;
    await this.#client.pushManifest(thinTag, index, mediaTypes.ociIndex, signal);
  }

  #error(verb: string, blob: Blob, error: unknown, signal: AbortSignal): ThinError {
    return storeError(`Cannot ${verb} blob ${blob.digest} of ${this}`, error, signal);
  }

  toString(): string {
    return this.#client.toString();
  }
}

/** Beside the image's own tag; undefined if that leaves no room: referrers are found all the same. */
function thinTagOf(tag: string): string | undefined {
  const thinTag = `${tag}-thin`;
  return isTag(thinTag) ? thinTag : undefined;
}
