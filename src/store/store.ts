import type { Digest } from '../digest.js';
import type { Descriptor } from '../image/descriptor.js';

/** A blob by the digest and the size that it must have. Sizes and offsets are in bytes. */
export interface Blob {
  readonly digest: Digest;
  readonly size: number;
}

/** A manifest that an index of the store lists. A claim: nothing of it is verified yet. */
export type ListedManifest = Descriptor & { readonly digest: Digest };

export interface FetchOptions {
  /** Past every cache on the way: what came before was wrong. */
  readonly fresh?: boolean | undefined;
  /** The caller tries again by itself, perhaps elsewhere: fail at once. */
  readonly once?: boolean | undefined;
}

/**
 * Where thin images are fetched from: an OCI repository, a directory, a web server, a bucket.
 * Every method throws ThinError: `not-found`, `denied`, `unavailable` (asking again may help),
 * `corrupt` (what came is not what was asked for), `canceled`.
 */
export interface Store {
  /**
   * Bytes `offset` to `offset + length` of a blob, exactly, or an error before the end. They are not
   * verified: `openVerified` (byte-stream.ts) does that for whole blobs; frames are by their chunks.
   */
  openRange(
    blob: Blob,
    offset: number,
    length: number,
    signal: AbortSignal,
    options?: FetchOptions,
  ): AsyncIterable<Buffer>;

  /** A whole manifest, verified. */
  readManifest(manifest: Blob, signal: AbortSignal): Promise<Buffer>;

  /** Manifests (of a type, or all) whose subject is the manifest `subject` of an image of `repository`. */
  referrers(
    repository: string,
    subject: Digest,
    artifactType: string | undefined,
    signal: AbortSignal,
  ): Promise<ListedManifest[]>;

  /** Thin manifests published for a tag, one for each platform; empty if there are none. */
  tagged(repository: string, tag: string, signal: AbortSignal): Promise<ListedManifest[]>;

  /** For log lines; without secrets. */
  toString(): string;
}

/** Opens the bytes of a blob from `offset` on; called again with a later offset to resume. */
export type OpenBytes = (offset: number) => AsyncIterable<Buffer>;

/** A store that one may publish to. What a method has returned from is durable. */
export interface WritableStore extends Store {
  hasBlob(blob: Blob, signal: AbortSignal): Promise<boolean>;

  /**
   * Keeps a blob; it is there whole and verified afterwards, or not at all.
   * @throws ThinError `corrupt` if the bytes are not those of `blob`
   */
  putBlob(blob: Blob, open: OpenBytes, signal: AbortSignal): Promise<void>;

  /** Keeps a thin manifest and makes it findable as a referrer of `subject`. */
  putManifest(manifest: NewManifest, signal: AbortSignal): Promise<void>;

  /** Makes `index`, an OCI index of thin manifests, what {@link Store.tagged} lists for the tag. */
  putTag(repository: string, tag: string, index: Buffer, signal: AbortSignal): Promise<void>;
}

export interface NewManifest {
  /** The original image's repository: registry host and path. */
  readonly repository: string;
  /** Digest of the original manifest. */
  readonly subject: Digest;
  readonly listed: ListedManifest;
  readonly bytes: Buffer;
  /** Manifests that it stands in for: they are listed no more where we write the list. */
  readonly replaces?: readonly Digest[];
}

/** A further power: a file of this machine becomes a blob without being copied. */
export interface AdoptingStore extends WritableStore {
  /**
   * Takes over a file, which is gone from its place then. Its bytes are not verified again: whoever
   * wrote it has hashed them.
   * @returns false if it lies on another file system; the blob must then be put.
   */
  adoptFile(blob: Blob, path: string, signal: AbortSignal): Promise<boolean>;
}

/** A further power: blobs of another repository of the same registry, without a copy over the network. */
export interface MountingStore extends WritableStore {
  /** @returns false if the registry would not; the blob must then be put. */
  mountBlob(blob: Blob, fromRepository: string, signal: AbortSignal): Promise<boolean>;
}
