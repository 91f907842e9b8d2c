import { type Digest, digestOf, isDigest } from '../digest.js';
import { ThinError } from '../errors.js';
import { inlined } from '../image/inlined-content.js';
import { parseManifest } from '../image/manifest.js';
import { mediaTypes } from '../image/media-type.js';
import { parsePlatform } from '../image/platform.js';
import { type HotIndex, hotIndexBytesMax } from './hot-index.js';
import type { Blob, ListedManifest } from './image-store.js';
import { thinMediaTypes } from './thin-manifest.js';

/** What a manifest is that has this `artifactType`: who looks for thin images passes it over. */
export const hotArtifactType = 'application/vnd.thinfs.hot.v1';

const mediaTypeOf = {
  index: 'application/vnd.thinfs.hot-index.v1+json',
  recordings: 'application/vnd.thinfs.hot-recordings.v1+zstd',
} as const;

/** Annotation: a decimal number; of several hot manifests of an image the highest counts. */
const generationKey = 'org.thinfs.hot.generation';
/** Annotation: digest of the original manifest. A tag that has moved still lists what was of the other. */
const imageKey = 'org.thinfs.hot.image';
/** Hot manifests of one image that are looked at: more are somebody's mistake or malice. */
const candidatesMax = 4;

/** The manifest's bytes: JSON without white space, its fields in a fixed order. */
export function encodeHotManifest(
  index: HotIndex,
  indexBlob: Blob,
  subject: { readonly mediaType: string; readonly digest: string; readonly size: number },
  generation: number,
): { readonly bytes: Buffer; readonly listed: ListedManifest } {
  const packs = new Map(index.commands.map(({ pack }) => [pack.digest, pack]));
  const annotations = { [generationKey]: `${generation}`, [imageKey]: index.image };
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      artifactType: hotArtifactType,
      config: entry(mediaTypeOf.index, indexBlob),
      layers: [
        entry(mediaTypeOf.recordings, index.recordings),
        ...[...packs.values()].map((pack) => entry(thinMediaTypes.pack, pack)),
      ],
      subject: { mediaType: subject.mediaType, digest: subject.digest, size: subject.size },
      annotations,
    }),
  );
  const listed = {
    mediaType: mediaTypes.ociManifest,
    digest: digestOf(bytes),
    size: bytes.length,
    artifactType: hotArtifactType,
    platform: parsePlatform(index.platform),
    annotations,
    ...inlined(bytes),
  };
  return { bytes, listed };
}

/** @returns the blob of the hot index @throws ThinError `corrupt`, `invalid` */
export function parseHotManifest(bytes: Buffer, image: string): Blob {
  const manifest = parseManifest(bytes, mediaTypes.ociManifest);
  if (manifest.kind !== 'manifest' || manifest.artifactType !== hotArtifactType) {
    throw corrupt(`its artifact type is not ${hotArtifactType}`);
  }
  const { config, subject } = manifest;
  if (subject?.digest !== image) throw corrupt(`it is of another image than ${image}`);
  if (config.mediaType !== mediaTypeOf.index || !isDigest(config.digest)) {
    throw corrupt('it has no hot index');
  }
  if (config.size > hotIndexBytesMax) throw corrupt(`its index has ${config.size} bytes`);
  return { digest: config.digest, size: config.size };
}

export interface HotManifest {
  readonly manifest: ListedManifest;
  readonly generation: number;
}

/** True of a hot manifest that does not say to be of the image: it is of another, or of nobody knows which. */
export function isHotOfOther(
  { artifactType, annotations }: ListedManifest,
  image: Digest,
): boolean {
  return artifactType === hotArtifactType && annotations?.[imageKey] !== image;
}

/** Those listed that say to be of the image; the first is the one that counts. */
export function hotManifestsOf(listed: readonly ListedManifest[], image: Digest): HotManifest[] {
  const hot = listed.filter(
    (manifest) => manifest.artifactType === hotArtifactType && !isHotOfOther(manifest, image),
  );
  const rated = hot.map((manifest) => ({ manifest, generation: generationOf(manifest) }));
  rated.sort(
    (a, b) => b.generation - a.generation || (a.manifest.digest < b.manifest.digest ? -1 : 1),
  );
  return rated.slice(0, candidatesMax);
}

function generationOf({ annotations }: ListedManifest): number {
  const stated = Number(annotations?.[generationKey] ?? 0);
  return Number.isSafeInteger(stated) && stated >= 0 ? stated : 0;
}

function entry(mediaType: string, { digest, size }: Blob) {
  return { mediaType, digest, size };
}

function corrupt(what: string): ThinError {
  return new ThinError('corrupt', `Cannot use hot manifest: ${what}`);
}
