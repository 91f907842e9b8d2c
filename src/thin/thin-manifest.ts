import { digestOf, isDigest } from '../digest.js';
import { ThinError } from '../errors.js';
import type { Descriptor } from '../image/descriptor.js';
import { inlined } from '../image/inlined-content.js';
import { parseManifest } from '../image/manifest.js';
import { mediaTypes } from '../image/media-type.js';
import type { ThinDescriptor } from './descriptor.js';
import type { Blob, ListedManifest } from './image-store.js';

/** What a manifest is that has this `artifactType`, in a registry's list of referrers. */
export const thinArtifactType = 'application/vnd.thinfs.image.v1';

export const thinMediaTypes = {
  descriptor: 'application/vnd.thinfs.descriptor.v1+json',
  metadata: 'application/vnd.thinfs.metadata.v1.erofs+zstd',
  bareMetadata: 'application/vnd.thinfs.bare-metadata.v1+zstd',
  chunkMap: 'application/vnd.thinfs.chunk-map.v1+zstd',
  pack: 'application/vnd.thinfs.pack.v1',
} as const;

/** The OCI manifest that holds a thin image's blobs together in a store. */
export interface ThinManifest {
  readonly descriptor: Blob & { readonly data?: string | undefined };
  /** The original manifest. */
  readonly subject: Blob;
  readonly layers: readonly Descriptor[];
}

/** The manifest's bytes: JSON without white space, its fields in a fixed order. */
export function encodeThinManifest(descriptorBytes: Buffer, descriptor: ThinDescriptor): Buffer {
  const { digest, size, mediaType } = descriptor.image.manifest;
  const descriptorBlob = { digest: digestOf(descriptorBytes), size: descriptorBytes.length };
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      artifactType: thinArtifactType,
      config: { ...entry(thinMediaTypes.descriptor, descriptorBlob), ...inlined(descriptorBytes) },
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
    ...inlined(bytes),
  };
}

/**
 * @throws ThinError `corrupt` or `invalid` if `bytes` are no thin manifest
 */
export function parseThinManifest(bytes: Buffer): ThinManifest {
  const manifest = parseManifest(bytes, mediaTypes.ociManifest);
  if (manifest.kind !== 'manifest' || manifest.artifactType !== thinArtifactType) {
    throw corrupt(`its artifact type is not ${thinArtifactType}`);
  }
  const { config, layers, subject } = manifest;
  if (config.mediaType !== thinMediaTypes.descriptor) throw corrupt('it has no thin descriptor');
  if (subject === undefined) throw corrupt('it names no image that it stands in for');
  return { descriptor: { ...named(config), data: config.data }, subject: named(subject), layers };
}

/**
 * Checks that the manifest's layers are the blobs of its descriptor: they are what keeps a registry
 * from collecting the packs as garbage.
 * @throws ThinError `corrupt`
 */
export function checkLayers(manifest: ThinManifest, descriptor: ThinDescriptor): void {
  const shown = (blobs: readonly Descriptor[]) =>
    blobs.map(({ mediaType, digest, size }) => `${mediaType} ${digest} ${size}`).join('\n');
  if (shown(manifest.layers) !== shown(layersOf(descriptor))) {
    throw corrupt('its layers are not the blobs that its descriptor names');
  }
}

/** Ours are named by SHA-256. */
function named({ digest, size }: Descriptor): Blob {
  if (isDigest(digest)) return { digest, size };
  throw corrupt(`it names ${digest} (wanted a SHA-256)`);
}

function corrupt(what: string): ThinError {
  return new ThinError('corrupt', `Cannot use thin manifest: ${what}`);
}

function layersOf({ metadata, chunkMap, packs }: ThinDescriptor) {
  const isBare = metadata.bareSize !== undefined;
  return [
    entry(isBare ? thinMediaTypes.bareMetadata : thinMediaTypes.metadata, metadata),
    entry(thinMediaTypes.chunkMap, chunkMap),
    ...packs.map((pack) => entry(thinMediaTypes.pack, pack)),
  ];
}

function entry(mediaType: string, { digest, size }: Blob) {
  return { mediaType, digest, size };
}
