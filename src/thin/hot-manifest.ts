import { z } from 'zod';
import { type Digest, digestOf, isDigest } from '../digest.js';
import { ThinError } from '../errors.js';
import type { Descriptor } from '../image/descriptor.js';
import { inlined } from '../image/inlined-content.js';
import { parseManifest } from '../image/manifest.js';
import { mediaTypes } from '../image/media-type.js';
import { parsePlatform } from '../image/platform.js';
import { type CommandPack, type HotIndex, hotIndexBytesMax } from './hot-index.js';
import type { Blob, ListedManifest } from './image-store.js';
import { thinMediaTypes } from './thin-manifest.js';

/** What a manifest is that has this `artifactType`: who looks for thin images passes it over. */
export const hotArtifactType = 'application/vnd.thinfs.hot.v1';

const mediaTypeOf = {
  index: 'application/vnd.thinfs.hot-index.v1+json',
  recordings: 'application/vnd.thinfs.hot-recordings.v1+zstd',
  /** Another one than a pack's: who looks for the pack of a command passes it over. */
  delta: 'application/vnd.thinfs.delta-pack.v1',
} as const;

/** Annotation: a decimal number; of several hot manifests of an image the highest counts. */
const generationKey = 'org.thinfs.hot.generation';
/** Annotation: digest of the original manifest. A tag that has moved still lists what was of the other. */
const imageKey = 'org.thinfs.hot.image';
/** Annotation of a pack: the command line that it is for, as JSON. */
const argsKey = 'org.thinfs.hot.args';
/** Longest text of one in UTF-16 units: the manifest is to stay so small that lists carry it. */
const argsLengthMax = 1024;
/** Hot manifests of one image that are looked at: more are somebody's mistake or malice. */
const candidatesMax = 4;

/** The manifest's bytes: JSON without white space, its fields in a fixed order. */
export function encodeHotManifest(
  index: HotIndex,
  indexBlob: Blob,
  subject: { readonly mediaType: string; readonly digest: string; readonly size: number },
  generation: number,
): { readonly bytes: Buffer; readonly listed: ListedManifest } {
  const annotations = { [generationKey]: `${generation}`, [imageKey]: index.image };
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      artifactType: hotArtifactType,
      config: entry(mediaTypeOf.index, indexBlob),
      layers: [
        entry(mediaTypeOf.recordings, index.recordings),
        ...index.commands
          .flatMap(({ delta }) => delta?.pack ?? [])
          .map((pack) => entry(mediaTypeOf.delta, pack)),
        ...index.commands.map(packEntry),
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

/** What a hot manifest names. */
export interface HotBlobs {
  readonly index: Blob;
  /** Of all commands, or none if the manifest does not tell of all. Claims, as all that is advice. */
  readonly packs: readonly CommandPack[];
}

/** @throws ThinError `corrupt`, `invalid` */
export function parseHotManifest(bytes: Buffer, image: string): HotBlobs {
  const manifest = parseManifest(bytes, mediaTypes.ociManifest);
  if (manifest.kind !== 'manifest' || manifest.artifactType !== hotArtifactType) {
    throw corrupt(`its artifact type is not ${hotArtifactType}`);
  }
  const { config, layers, subject } = manifest;
  if (subject?.digest !== image) throw corrupt(`it is of another image than ${image}`);
  if (config.mediaType !== mediaTypeOf.index || !isDigest(config.digest)) {
    throw corrupt('it has no hot index');
  }
  if (config.size > hotIndexBytesMax) throw corrupt(`its index has ${config.size} bytes`);
  const index = { digest: config.digest, size: config.size };
  return { index, packs: commandPacks(layers) };
}

export interface HotManifest {
  readonly manifest: ListedManifest;
  readonly generation: number;
}

/** True of a hot manifest that does not say to be of the image: it is of another, or of nobody knows which. */
export function isHotOfOther(listed: ListedManifest, image: Digest): boolean {
  return listed.artifactType === hotArtifactType && imageOfHot(listed) !== image;
}

/** Digest of the original manifest that a hot manifest says to be of, if it says so. A claim. */
export function imageOfHot({ annotations }: ListedManifest): string | undefined {
  return annotations?.[imageKey];
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

function packEntry({ args, pack }: CommandPack) {
  const text = JSON.stringify(args);
  const annotations = text.length <= argsLengthMax ? { [argsKey]: text } : undefined;
  return { ...entry(thinMediaTypes.pack, pack), ...(annotations && { annotations }) };
}

const argsSchema = z.array(z.string()).min(1);

function commandPacks(layers: readonly Descriptor[]): CommandPack[] {
  const packs = layers.filter(({ mediaType }) => mediaType === thinMediaTypes.pack);
  const told = packs.flatMap(commandPack);
  return told.length === packs.length ? told : [];
}

function commandPack({ digest, size, annotations }: Descriptor): CommandPack[] {
  const text = annotations?.[argsKey];
  if (!isDigest(digest) || text === undefined) return [];
  try {
    const { data: args } = argsSchema.safeParse(JSON.parse(text));
    return args ? [{ args, pack: { digest, size } }] : [];
  } catch {
    return []; // the index tells it, too
  }
}

function corrupt(what: string): ThinError {
  return new ThinError('corrupt', `Cannot use hot manifest: ${what}`);
}
