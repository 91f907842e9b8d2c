import { ThinError } from '../src/errors.js';
import { hasherFor, isDigestOf } from '../src/image/content-digest.js';
import type { Descriptor } from '../src/image/descriptor.js';

/** A manifest or index as it came, and what it says that it is. */
export interface ImageDocument {
  readonly bytes: Buffer;
  /** Undefined if nothing beside the document says it. */
  readonly mediaType: string | undefined;
}

/** Where an image is read from: documents that are verified, and the blobs that they name. */
export interface ImageContent extends AsyncDisposable {
  /** What the image calls itself, if it does: `localhost:5000/python:1`. */
  readonly name: string | undefined;
  /** The image's manifest, or the index of its platforms. */
  root(signal: AbortSignal): Promise<ImageDocument>;
  /** A manifest or index that the root names, verified. */
  document(descriptor: Descriptor, signal: AbortSignal): Promise<ImageDocument>;
  /** Bytes of a blob from `offset` on, not verified. */
  open(descriptor: Descriptor, offset: number, signal: AbortSignal): AsyncIterable<Buffer>;
  /** For messages. */
  toString(): string;
}

/** @throws ThinError `corrupt` if `bytes` are not what `descriptor` names */
export function checkContent(what: string, descriptor: Descriptor, bytes: Buffer): void {
  const { digest, size } = descriptor;
  const hasher = hasherFor(digest).update(bytes);
  if (bytes.length === size && isDigestOf(digest, hasher)) return;
  throw new ThinError(
    'corrupt',
    `Cannot read ${what}: ${bytes.length} bytes that are not ${digest} (wanted ${size})`,
  );
}
