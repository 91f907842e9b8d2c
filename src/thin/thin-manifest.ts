import { z } from 'zod';
import { type Digest, digestOf, isDigest } from '../digest.js';
import { ThinError } from '../errors.js';
import { type Descriptor, descriptorSchema } from '../image/descriptor.js';
import { parseJsonDocument } from '../image/json-document.js';
import { mediaTypes } from '../image/media-type.js';
import { packsMax } from './chunk-map-layout.js';
import type { ThinDescriptor } from './descriptor.js';
import type { Blob, ListedManifest } from './image-store.js';

/** What a manifest is that has this `artifactType`, in a registry's list of referrers. */
export const thinArtifactType = 'application/vnd.thinfs.image.v1';

export const thinMediaTypes = {
  descriptor: 'application/vnd.thinfs.descriptor.v1+json',
  metadata: 'application/vnd.thinfs.metadata.v1.erofs+zstd',
  chunkMap: 'application/vnd.thinfs.chunk-map.v1+zstd',
  pack: 'application/vnd.thinfs.pack.v1',
} as const;

/** The OCI manifest that holds a thin image's blobs together in a store. */
export interface ThinManifest {
  readonly descriptor: Blob;
  /** The original manifest. */
  readonly subject: Blob;
}

/** The manifest's bytes: JSON without white space, its fields in a fixed order. */
export function encodeThinManifest(descriptorBlob: Blob, descriptor: ThinDescriptor): Buffer {
  const { digest, size, mediaType } = descriptor.image.manifest;
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      artifactType: thinArtifactType,
      config: entry(thinMediaTypes.descriptor, descriptorBlob),
      layers: layersOf(descriptor),
      subject: entry(mediaType, { digest, size }),
    }),
  );
}

/** How an index lists the manifest. */
export function listedAs(bytes: Buffer, descriptor: ThinDescriptor): ListedManifest {
  return {
    mediaType: mediaTypes.ociManifest,
    digest: digestOf(bytes),
    size: bytes.length,
    artifactType: thinArtifactType,
    platform: descriptor.image.platform,
  };
}

const ours = descriptorSchema.extend({
  digest: z.custom<Digest>((text) => typeof text === 'string' && isDigest(text), 'wanted SHA-256'),
});

const schema = z.object({
  schemaVersion: z.literal(2),
  mediaType: z.literal(mediaTypes.ociManifest),
  artifactType: z.literal(thinArtifactType),
  config: ours.extend({ mediaType: z.literal(thinMediaTypes.descriptor) }),
  layers: z.array(ours).max(packsMax + 2),
  subject: ours,
});

/** @throws ThinError `corrupt` if `bytes` are no thin manifest. */
export function parseThinManifest(bytes: Buffer): ThinManifest {
  const { config, subject } = parseJsonDocument('thin manifest', bytes, schema);
  return { descriptor: config, subject };
}

/**
 * Checks that the manifest's layers are the blobs of its descriptor: they are what keeps a registry
 * from collecting the packs as garbage.
 * @throws ThinError `corrupt`
 */
export function checkLayers(bytes: Buffer, descriptor: ThinDescriptor): void {
  const { layers } = parseJsonDocument('thin manifest', bytes, schema);
  const shown = (blobs: readonly Descriptor[]) =>
    blobs.map(({ mediaType, digest, size }) => `${mediaType} ${digest} ${size}`).join('\n');
  if (shown(layers) !== shown(layersOf(descriptor))) {
    throw new ThinError(
      'corrupt',
      'Cannot use thin manifest: its layers are not the blobs that its descriptor names',
    );
  }
}

function layersOf({ metadata, chunkMap, packs }: ThinDescriptor) {
  return [
    entry(thinMediaTypes.metadata, metadata),
    entry(thinMediaTypes.chunkMap, chunkMap),
    ...packs.map((pack) => entry(thinMediaTypes.pack, pack)),
  ];
}

function entry(mediaType: string, { digest, size }: Blob) {
  return { mediaType, digest, size };
}
