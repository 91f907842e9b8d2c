import type { Digest } from '../digest.js';
import type { Descriptor } from '../image/descriptor.js';

/**
 * What thin images need of a store. The adapters are in src/store, whose interfaces have more powers
 * than these; what the methods promise is told there.
 */
export interface Blob {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
}

/** A manifest that an index of the store lists: a claim until its bytes were read. */
export type ListedManifest = Descriptor & { readonly digest: Digest };

/** For loading. */
export interface BlobSource {
  openRange(blob: Blob, offset: number, length: number, signal: AbortSignal): AsyncIterable<Buffer>;
  /** Whether blobs are better asked for whole: parts of them are not had in the same way. */
  readonly comesWhole?: boolean;
  toString(): string;
}

/** For finding and loading. */
export interface ThinImageSource extends BlobSource {
  readManifest(manifest: Blob, signal: AbortSignal): Promise<Buffer>;
  referrers(
    repository: string,
    subject: Digest,
    artifactType: string | undefined,
    signal: AbortSignal,
  ): Promise<ListedManifest[]>;
  tagged(repository: string, tag: string, signal: AbortSignal): Promise<ListedManifest[]>;
}

export type OpenBytes = (offset: number) => AsyncIterable<Buffer>;

/** For publishing. */
export interface ThinImageTarget {
  hasBlob(blob: Blob, signal: AbortSignal): Promise<boolean>;
  putBlob(blob: Blob, open: OpenBytes, signal: AbortSignal): Promise<void>;
  /** Only a registry can: the blob of another of its repositories, without sending it. */
  mountBlob?(blob: Blob, fromRepository: string, signal: AbortSignal): Promise<boolean>;
  putManifest(
    manifest: {
      readonly repository: string;
      readonly subject: Digest;
      readonly listed: ListedManifest;
      readonly bytes: Buffer;
      /** Manifests that it stands in for: they are listed no more where we write the list. */
      readonly replaces?: readonly Digest[];
    },
    signal: AbortSignal,
  ): Promise<void>;
  readManifest(manifest: Blob, signal: AbortSignal): Promise<Buffer>;
  tagged(repository: string, tag: string, signal: AbortSignal): Promise<ListedManifest[]>;
  putTag(repository: string, tag: string, index: Buffer, signal: AbortSignal): Promise<void>;
  toString(): string;
}
