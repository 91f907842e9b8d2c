import { z } from 'zod';
import { type Digest, digestOf, isDigest } from '../digest.js';
import { ThinError } from '../errors.js';
import { limits } from '../limits.js';
import type { Platform } from './descriptor.js';

/** A JSON document, byte for byte, with the digest and the size in bytes that it is known to have. */
export interface EmbeddedDocument {
  readonly digest: Digest;
  readonly size: number;
  readonly text: string;
}

/** One layer of the original image. */
export interface OriginalLayer {
  readonly mediaType: string;
  /** Of the layer as the registry has it, compressed. */
  readonly digest: Digest;
  readonly size: number;
  /** Of the uncompressed archive, as the image config says. */
  readonly diffId: Digest;
}

/** The image that a thin image stands in for. */
export interface OriginalImage {
  readonly manifest: EmbeddedDocument & { readonly mediaType: string };
  readonly config: EmbeddedDocument;
  readonly platform: Platform;
  /** From the bottom up. */
  readonly layers: readonly OriginalLayer[];
}

const digest = z.string().refine(isDigest, 'wanted sha256: and 64 lower-case hex digits');
const descriptor = z.object({
  mediaType: z.string().max(255),
  digest,
  size: z.int().nonnegative(),
});
const manifestSchema = z.object({
  config: descriptor,
  layers: z.array(descriptor).max(limits.layersMax),
});
const configSchema = z.object({ rootfs: z.object({ diff_ids: z.array(digest) }) });

/**
 * Checks that the documents are what their digests say, and that the manifest names this config.
 * @throws ThinError `corrupt`
 */
export function readOriginalImage(image: Omit<OriginalImage, 'layers'>): OriginalImage {
  const manifest = readDocument('manifest', image.manifest, manifestSchema);
  const config = readDocument('config', image.config, configSchema);
  if (
    manifest.config.digest !== image.config.digest ||
    manifest.config.size !== image.config.size
  ) {
    throw corrupt(`config ${image.config.digest} (the manifest names ${manifest.config.digest})`);
  }
  const diffIds = config.rootfs.diff_ids;
  if (diffIds.length !== manifest.layers.length) {
    throw corrupt(`${diffIds.length} diff IDs for ${manifest.layers.length} layers`);
  }
  const layers = manifest.layers.map((layer, index) => {
    const diffId = diffIds[index];
    if (diffId === undefined) throw corrupt(`no diff ID for layer ${index}`);
    return { mediaType: layer.mediaType, digest: layer.digest, size: layer.size, diffId };
  });
  return { ...image, layers };
}

function readDocument<T>(what: string, document: EmbeddedDocument, schema: z.ZodType<T>): T {
  const bytes = Buffer.from(document.text);
  if (bytes.length !== document.size || digestOf(bytes) !== document.digest) {
    throw corrupt(`a ${what} that is not ${document.digest} of ${document.size} bytes`);
  }
  const parsed = schema.safeParse(parseJson(what, document.text));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw corrupt(`a ${what} with ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'no fields'}`);
}

function parseJson(what: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ThinError('corrupt', `Cannot read thin descriptor: a ${what} that is not JSON`, {
      cause: error,
    });
  }
}

function corrupt(what: string): ThinError {
  return new ThinError('corrupt', `Cannot read thin descriptor: it has ${what}`);
}
