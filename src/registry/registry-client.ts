import type { Digest } from '../digest.js';
import type { ContentDigest } from '../image/content-digest.js';
import type { Descriptor } from '../image/descriptor.js';
import { parseRepository } from '../image/reference.js';
import { type BlobRange, readBlob } from './blob-reader.js';
import { mountBlob, pushBlob, statBlob } from './blob-writer.js';
import {
  type ManifestTarget,
  type RawManifest,
  readManifest,
  resolveManifest,
} from './manifest-reader.js';
import { pushManifest } from './manifest-writer.js';
import { pushReferrer, readReferrers } from './referrers.js';
import { RegistrySession, type SessionOptions } from './registry-session.js';
import { displayRepository, pullScope, type Repository } from './repository.js';

export interface RegistryOptions extends SessionOptions {
  /** `library/debian`. An `ImageReference` has both, so `open({ ...reference })` will do. */
  readonly repository: string;
}

/**
 * The face of this folder, which knows HTTP, credentials and the distribution API, and nothing of
 * layers' contents or thin images.
 *
 * One repository of an OCI registry (distribution specification 1.1, or docker-registry 2): reads and
 * pushes manifests and blobs. Requests are retried within limits; what is read whole is verified.
 * Errors are ThinErrors: `not-found`, `denied`, `unavailable` (after retries), `corrupt`, `invalid`.
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md
 */
export class RegistryClient implements AsyncDisposable {
  readonly #repository: Repository;
  readonly #owned: boolean;

  private constructor(repository: Repository, owned: boolean) {
    this.#repository = repository;
    this.#owned = owned;
  }

  /** Talks to nobody yet. @throws ThinError `invalid` for a malformed name or certificate. */
  static async open({ repository, ...options }: RegistryOptions): Promise<RegistryClient> {
    const name = parseRepository(repository);
    const session = await RegistrySession.open(options);
    return new RegistryClient({ session, name }, true);
  }

  /** Another repository over the same connections; it ends with this one. */
  forRepository(repository: string): RegistryClient {
    const { session } = this.#repository;
    return new RegistryClient({ session, name: parseRepository(repository) }, false);
  }

  /** `localhost:5000/debian` */
  toString(): string {
    return displayRepository(this.#repository);
  }

  /** What a tag or digest is. The registry's word, not verified: what is then read by it is. */
  resolve(target: string, signal: AbortSignal): Promise<Descriptor> {
    return resolveManifest(this.#repository, target, signal);
  }

  /** A manifest or index, verified against the digest or descriptor that was asked for. */
  manifest(target: ManifestTarget, signal: AbortSignal): Promise<RawManifest> {
    return readManifest(this.#repository, target, signal);
  }

  /** Whether parts of blobs can be had, as far as it has shown. */
  get knowsRanges(): boolean {
    return performance.now() >= this.#repository.session.noRangesUntil;
  }

  /**
   * A blob or a part of it; breaks are resumed. The whole is verified while it streams, a part is not.
   */
  blob(blob: Pick<Descriptor, 'digest' | 'size'>, range: BlobRange): AsyncGenerator<Buffer, void> {
    return readBlob(this.#repository, blob, range);
  }

  async hasBlob(digest: ContentDigest, signal: AbortSignal): Promise<boolean> {
    const scope = pullScope(this.#repository.name);
    return (await statBlob(this.#repository, digest, scope, signal)) !== undefined;
  }

  /** False if the registry does not take the blob over: push it then. */
  mountBlob(digest: ContentDigest, fromRepository: string, signal: AbortSignal): Promise<boolean> {
    return mountBlob(this.#repository, digest, fromRepository, signal);
  }

  /**
   * Pushes a blob unless it is there.
   * @param open its bytes from an offset on; called anew for each piece and each try
   * @param onProgress told how many bytes the network has taken; goes back when some are sent again
   * @returns whether anything had to be sent
   */
  pushBlob(
    blob: { readonly digest: ContentDigest; readonly size: number },
    open: (offset: number) => AsyncIterable<Buffer>,
    signal: AbortSignal,
    onProgress?: (sent: number) => void,
  ): Promise<boolean> {
    return pushBlob(this.#repository, { ...blob, open }, { signal, onProgress });
  }

  /** Under a tag, or its digest alone. What it refers to must have been pushed. */
  async pushManifest(
    tagOrDigest: string,
    bytes: Buffer,
    mediaType: string,
    signal: AbortSignal,
  ): Promise<Digest> {
    const pushed = await pushManifest(this.#repository, tagOrDigest, bytes, mediaType, signal);
    return pushed.digest;
  }

  /** What (of a type, or all) names `digest` as its subject, by the referrers API or the tag that stands in for it. */
  referrers(
    digest: ContentDigest,
    artifactType: string | undefined,
    signal: AbortSignal,
  ): Promise<Descriptor[]> {
    return readReferrers(this.#repository, digest, artifactType, signal);
  }

  /**
   * Pushes a manifest by its digest and has it listed among the referrers of its subject.
   * @param replaces digests of manifests that are listed no more, where the list is a tag
   */
  pushReferrer(
    bytes: Buffer,
    mediaType: string,
    signal: AbortSignal,
    replaces?: readonly string[],
  ): Promise<Descriptor> {
    return pushReferrer(this.#repository, bytes, mediaType, signal, replaces);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#owned) await this.#repository.session[Symbol.asyncDispose]();
  }
}
