import { type Digest, digestOf } from '../digest.js';
import { isThinError, ThinError } from '../errors.js';
import type { Platform } from '../image/descriptor.js';
import { mediaTypes } from '../image/media-type.js';
import { formatPlatform } from '../image/platform.js';
import { limits } from '../limits.js';
import { ChunkMap } from './chunk-map.js';
import { encodeThinDescriptor, parseThinDescriptor } from './descriptor.js';
import { isHotOfOther } from './hot-manifest.js';
import type { Blob, ListedManifest, OpenBytes, ThinImageTarget } from './image-store.js';
import { inParallel } from './parallel.js';
import { encodeThinManifest, listedAs } from './thin-manifest.js';
import { toWire } from './wire-blob.js';
import { toWireMetadata } from './wire-metadata.js';

/** Packs sent at a time: a second connection hides the pauses of the first, more only share the line. */
const uploadsMax = 2;

/** A pack that the image refers to. */
export interface NewPack extends Blob {
  /** Its bytes; absent for a pack of another image, which must be in the store. */
  readonly open?: OpenBytes | undefined;
  /** A repository of the same registry that has it. */
  readonly mountFrom?: string | undefined;
}

export interface NewThinImage {
  /** Registry host and repository of the original image. */
  readonly repository: string;
  readonly manifest: { readonly mediaType: string; readonly bytes: Buffer };
  readonly config: Buffer;
  readonly platform: Platform;
  /** The plain EROFS image. */
  readonly metadata: Buffer;
  /** The plain chunk map; every pack that it refers to must be in `packs`. */
  readonly chunkMap: Buffer;
  readonly packs: readonly NewPack[];
}

/** What a tag lists, and the original manifest that it is of. */
export interface TaggedManifest {
  readonly listed: ListedManifest;
  readonly subject: Digest;
}

export interface PublishedThinImage extends TaggedManifest {
  /** Bytes that were sent: what the store had already is not counted. */
  readonly newBytes: number;
}

/**
 * Publishes the thin image of one platform: packs, then metadata, chunk map and descriptor, then the
 * manifest, which makes it findable. A publisher that is killed has left blobs that nothing names, and
 * the next one sends only what is missing.
 * @throws ThinError `corrupt` or `invalid` if the parts do not belong together, before anything is sent
 */
export async function publishThinImage(
  store: ThinImageTarget,
  image: NewThinImage,
  signal: AbortSignal,
): Promise<PublishedThinImage> {
  const map = ChunkMap.parse(image.chunkMap);
  const packs = neededPacks(map, image);
  const metadata = await toWireMetadata(image.metadata, map); // one at a time: the level takes 24 MiB beside them
  const chunkMap = await toWire(image.chunkMap);
  const descriptorBytes = encodeThinDescriptor({
    manifest: image.manifest,
    config: image.config,
    platform: image.platform,
    metadata: metadata.blob,
    chunkMap: chunkMap.blob,
    packs,
  });
  const descriptor = parseThinDescriptor(descriptorBytes);
  const descriptorBlob = { digest: digestOf(descriptorBytes), size: descriptorBytes.length };
  const bytes = encodeThinManifest(descriptorBytes, descriptor);
  const listed = listedAs(bytes, descriptor);

  let newBytes = await putPacks(store, packs, signal);
  newBytes += await putMissing(store, { ...metadata.blob, open: bytesOf(metadata.bytes) }, signal);
  newBytes += await putMissing(store, { ...chunkMap.blob, open: bytesOf(chunkMap.bytes) }, signal);
  newBytes += await putMissing(
    store,
    { ...descriptorBlob, open: bytesOf(descriptorBytes) },
    signal,
  );
  const subject = descriptor.image.manifest.digest;
  await store.putManifest({ repository: image.repository, subject, listed, bytes }, signal);
  return { listed, subject, newBytes };
}

/**
 * Publishes an index of thin manifests for a tag, for people and for stores that have no referrers.
 * What the tag lists for other platforms, or of another kind, stays, also the hot manifest of the image
 * that the tag was of before: what starts of that one read is what the new one's can be told from. It goes
 * when the new image has one, or if it is not there any more. Of two who write at once the last one wins.
 */
export async function publishThinTag(
  store: ThinImageTarget,
  repository: string,
  tag: string,
  images: readonly TaggedManifest[],
  signal: AbortSignal,
): Promise<void> {
  const platformOf = ({ platform }: ListedManifest) => (platform ? formatPlatform(platform) : '');
  const subjects = new Map(images.map(({ listed, subject }) => [platformOf(listed), subject]));
  const before = await listedBefore(store, repository, tag, signal);
  const kept: ListedManifest[] = [];
  for (const listed of before) {
    const subject = subjects.get(platformOf(listed));
    const isEarlier = subject !== undefined && isHotOfOther(listed, subject);
    // A registry refuses an index that names what it does not have.
    if (!isEarlier || (await isThere(store, listed, signal))) kept.push(listed);
  }
  const entries = new Map<string, ListedManifest>();
  for (const listed of [...kept, ...images.map((image) => image.listed)]) {
    entries.set(`${platformOf(listed)} ${listed.artifactType}`, listed);
  }
  const sorted = [...entries].sort(([a], [b]) => (a < b ? -1 : 1));
  const manifests = sorted.map(([, listed]) => {
    const { mediaType, digest, size, artifactType, platform, annotations, data } = listed;
    return { mediaType, digest, size, artifactType, platform, annotations, data };
  });
  const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests };
  await store.putTag(repository, tag, Buffer.from(JSON.stringify(index)), signal);
}

async function isThere(
  store: ThinImageTarget,
  manifest: Blob,
  signal: AbortSignal,
): Promise<boolean> {
  if (manifest.size > limits.manifestBytesMax) return false;
  try {
    await store.readManifest(manifest, signal);
    return true;
  } catch (error) {
    if (isThinError(error, 'not-found', 'corrupt', 'invalid')) return false;
    throw error;
  }
}

async function listedBefore(
  store: ThinImageTarget,
  repository: string,
  tag: string,
  signal: AbortSignal,
): Promise<readonly ListedManifest[]> {
  try {
    return await store.tagged(repository, tag, signal);
  } catch (error) {
    // Nothing to keep: it is replaced by an index that can be read.
    if (isThinError(error, 'corrupt', 'invalid')) return [];
    throw error;
  }
}

/** The packs that the chunk map refers to, in the order given. */
function neededPacks(map: ChunkMap, { packs }: NewThinImage): NewPack[] {
  const needed = new Map(map.packs.map((pack) => [pack.digest, pack.size]));
  const given = packs.filter((pack) => needed.get(pack.digest) === pack.size);
  if (given.length === needed.size) return given;
  throw new ThinError(
    'invalid',
    `Cannot publish thin image: ${given.length} packs are given (wanted the ${needed.size} that its chunk map refers to)`,
  );
}

async function putPacks(
  store: ThinImageTarget,
  packs: readonly NewPack[],
  signal: AbortSignal,
): Promise<number> {
  let newBytes = 0;
  await inParallel(packs, uploadsMax, signal, async (pack, aborted) => {
    const sent = await putMissing(store, pack, aborted);
    newBytes += sent;
  });
  return newBytes;
}

/** @returns the bytes that were sent: none if the store has the blob, or its registry elsewhere. */
export async function putMissing(
  store: ThinImageTarget,
  { digest, size, open, mountFrom }: NewPack,
  signal: AbortSignal,
): Promise<number> {
  const blob = { digest, size };
  if (await store.hasBlob(blob, signal)) return 0;
  if (mountFrom !== undefined && (await store.mountBlob?.(blob, mountFrom, signal))) return 0;
  if (!open) {
    throw new ThinError(
      'not-found',
      `Cannot publish thin image: pack ${digest} of another image is not in ${store} any more`,
    );
  }
  await store.putBlob(blob, open, signal);
  return size;
}

export function bytesOf(bytes: Buffer): OpenBytes {
  return async function* open(offset) {
    yield bytes.subarray(offset);
  };
}
