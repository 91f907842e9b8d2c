import { z } from 'zod';
import { ThinError } from '../errors.js';
import { limits } from '../limits.js';
import { annotationsSchema, type Descriptor, descriptorSchema } from './descriptor.js';
import { parseJsonDocument } from './json-document.js';
import { indexMediaTypes, manifestMediaTypes } from './media-type.js';

/**
 * An image, or an artifact in the form of one: a config and layers, lowest first.
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.0/manifest.md
 */
export interface Manifest {
  readonly kind: 'manifest';
  readonly mediaType: string;
  readonly artifactType?: string | undefined;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  /** What this manifest is about: the image that a signature signs, that a thin image replaces. */
  readonly subject?: Descriptor | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

/**
 * A list of manifests, usually of one image for several platforms.
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.0/image-index.md
 */
export interface ImageIndex {
  readonly kind: 'index';
  readonly mediaType: string;
  readonly artifactType?: string | undefined;
  readonly manifests: readonly Descriptor[];
  readonly subject?: Descriptor | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

const head = {
  schemaVersion: z.literal(2),
  mediaType: z.string().optional(),
  artifactType: z.string().optional(),
  subject: descriptorSchema.optional(),
  annotations: annotationsSchema.optional(),
};

/** One document that two readers could take for different things is refused (CVE-2021-41190). */
const absent = z.undefined('a document with "manifests" beside "layers" or "config" is ambiguous');

const manifestSchema = z.object({
  ...head,
  config: descriptorSchema,
  layers: z.array(descriptorSchema).max(limits.layersMax),
  manifests: absent.optional(),
});

const indexSchema = z.object({
  ...head,
  manifests: z.array(descriptorSchema),
  config: absent.optional(),
  layers: absent.optional(),
});

const headSchema = z.object({ mediaType: z.string().optional() });

/**
 * Reads a manifest or index.
 * @param bytes at most 4 MiB
 * @param mediaType as the Content-Type header and the descriptor have it; undefined if neither says
 *   anything, then the document's own field decides
 * @throws ThinError `corrupt` if the document is malformed, ambiguous, or names another type than
 *   `mediaType`; `invalid` if its type is none of OCI's manifest and index and Docker's schema 2.
 */
export function parseManifest(
  bytes: Uint8Array,
  mediaType: string | undefined,
): Manifest | ImageIndex {
  const type = agreedMediaType(bytes, mediaType);
  if (manifestMediaTypes.includes(type)) {
    const {
      schemaVersion: _,
      manifests: __,
      ...fields
    } = parseJsonDocument('manifest', bytes, manifestSchema);
    return { ...fields, kind: 'manifest', mediaType: type };
  }
  if (indexMediaTypes.includes(type)) {
    const {
      schemaVersion: _,
      config: __,
      layers: ___,
      ...fields
    } = parseJsonDocument('image index', bytes, indexSchema);
    return { ...fields, kind: 'index', mediaType: type };
  }
  throw unknownType(type);
}

function agreedMediaType(bytes: Uint8Array, outside: string | undefined): string {
  if (outside !== undefined && ![...manifestMediaTypes, ...indexMediaTypes].includes(outside)) {
    throw unknownType(outside);
  }
  const inside = parseJsonDocument('manifest', bytes, headSchema).mediaType;
  if (inside !== undefined && outside !== undefined && inside !== outside) {
    throw new ThinError(
      'corrupt',
      `Cannot read manifest: it calls itself ${shown(inside)} (wanted ${outside}, as its header or descriptor says)`,
    );
  }
  const type = inside ?? outside;
  if (type === undefined) {
    throw new ThinError(
      'corrupt',
      'Cannot read manifest: neither it nor its header names a media type (wanted an OCI or Docker schema 2 manifest or index)',
    );
  }
  return type;
}

function unknownType(type: string): ThinError {
  const wanted = [...manifestMediaTypes, ...indexMediaTypes].join(', ');
  return new ThinError(
    'invalid',
    `Cannot use manifest of type ${shown(type)}: it is not supported (wanted one of ${wanted})`,
  );
}

function shown(type: string): string {
  return JSON.stringify(type.slice(0, 100));
}
