import { type Digest, digestOf } from '../digest.js';
import { ThinError } from '../errors.js';
import type { Platform } from '../image/descriptor.js';
import { type ImageLayer, imageLayers, parseImageConfig } from '../image/image-config.js';
import { parseManifest } from '../image/manifest.js';

/** A JSON document, byte for byte, with the digest and the size in bytes that it is known to have. */
export interface EmbeddedDocument {
  readonly digest: Digest;
  readonly size: number;
  readonly text: string;
}

/** The image that a thin image stands in for. */
export interface OriginalImage {
  readonly manifest: EmbeddedDocument & { readonly mediaType: string };
  readonly config: EmbeddedDocument;
  readonly platform: Platform;
  /** From the bottom up, each with its diff ID. */
  readonly layers: readonly ImageLayer[];
}

/**
 * Checks that the documents are what their digests say, and that the manifest names this config.
 * @throws ThinError `corrupt`; `invalid` for a manifest of a type that we do not know
 */
export function readOriginalImage(image: Omit<OriginalImage, 'layers'>): OriginalImage {
  const manifest = parseManifest(bytesOfDocument(image.manifest), image.manifest.mediaType);
  const config = parseImageConfig(bytesOfDocument(image.config));
  if (manifest.kind === 'index') throw corrupt('an index in place of a manifest');
  const named = manifest.config;
  if (named.digest !== image.config.digest || named.size !== image.config.size) {
    throw corrupt(`config ${image.config.digest} (its manifest names ${named.digest})`);
  }
  return { ...image, layers: imageLayers(manifest, config) };
}

function bytesOfDocument({ digest, size, text }: EmbeddedDocument): Buffer {
  const bytes = Buffer.from(text);
  if (bytes.length === size && digestOf(bytes) === digest) return bytes;
  throw corrupt(`a document that is not ${digest} of ${size} bytes`);
}

function corrupt(what: string): ThinError {
  return new ThinError('corrupt', `Cannot read thin descriptor: it has ${what}`);
}
