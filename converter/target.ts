import type { Digest } from '../src/digest.js';
import { isThinError, ThinError } from '../src/errors.js';
import type { Platform } from '../src/image/descriptor.js';
import { mediaTypes } from '../src/image/media-type.js';
import type { AdoptingStore, Blob, MountingStore, WritableStore } from '../src/store/store.js';
import { type BaseImage, checkBase } from '../src/thin/base-image.js';
import { findThinImage } from '../src/thin/find-thin-image.js';
import type { ListedManifest } from '../src/thin/image-store.js';
import { loadThinImage } from '../src/thin/load-thin-image.js';
import { inParallel } from '../src/thin/parallel.js';
import { thinArtifactType } from '../src/thin/thin-manifest.js';
import type { ConversionIndex } from './conversion-index.js';
import type { FindOlder } from './known-chunks.js';
import type { StorePlace } from './store-place.js';

/** Questions of a store at a time: each is one round trip. */
const questionsMax = 8;

/** Where thin images are published, and what is known of it. */
export interface Target {
  readonly store: WritableStore &
    Partial<Pick<MountingStore, 'mountBlob'> & Pick<AdoptingStore, 'adoptFile'>>;
  readonly place: StorePlace;
  /** Registry host and repository of the original image. */
  readonly repository: string;
  readonly tag: string | undefined;
  readonly index: ConversionIndex;
}

/** The thin image of a manifest, if it is published and complete. */
export async function publishedImage(
  { store, repository }: Target,
  image: { readonly digest: Digest; readonly platform: Platform },
  signal: AbortSignal,
): Promise<ListedManifest | undefined> {
  const { digest: manifest, platform } = image;
  const found = await usable(findThinImage(store, { repository, manifest, platform }, signal));
  if (!found) return undefined;
  const { metadata, chunkMap, packs } = found.descriptor;
  const lost = await lostBlobs(store, [metadata, chunkMap, ...packs], signal);
  if (lost.size > 0) return undefined;
  return {
    ...found.manifest,
    mediaType: mediaTypes.ociManifest,
    artifactType: thinArtifactType,
    platform: found.descriptor.image.platform,
  };
}

/** Those of some blobs that a store does not have. */
async function lostBlobs(
  store: WritableStore,
  blobs: readonly Blob[],
  signal: AbortSignal,
): Promise<Set<Digest>> {
  const lost = new Set<Digest>();
  await inParallel(blobs, questionsMax, signal, async (blob, aborted) => {
    if (!(await store.hasBlob(blob, aborted))) lost.add(blob.digest);
  });
  return lost;
}

/** What cannot be used is as good as nothing: it is published anew. */
async function usable<T>(wanted: Promise<T>): Promise<T | undefined> {
  try {
    return await wanted;
  } catch (error) {
    if (isThinError(error, 'corrupt', 'invalid', 'not-found')) return undefined;
    throw error;
  }
}

/** The chunks of the thin image that a tag has in the store; undefined if there is none for us. */
export async function taggedImage(
  store: WritableStore,
  repository: string,
  tag: string,
  platform: Platform,
  signal: AbortSignal,
): Promise<FindOlder | undefined> {
  const found = await usable(findThinImage(store, { repository, tag, platform }, signal));
  if (!found) return undefined;
  const loaded = await usable(loadThinImage(store, found.descriptor, signal));
  if (!loaded) return undefined;
  const { chunkMap } = loaded;
  const packs = new Map(chunkMap.packs.map((pack) => [pack.digest, pack]));
  return (digest) => {
    const chunk = chunkMap.find(digest);
    const pack = chunk && packs.get(chunk.frame.pack);
    return pack ? [{ chunk, pack }] : [];
  };
}

/** As {@link taggedImage}, when the user named the image. */
export async function namedBase(
  target: Target,
  base: BaseImage,
  platform: Platform,
  signal: AbortSignal,
): Promise<FindOlder> {
  const { store, repository } = target;
  checkBase(store, base, repository);
  const image = await taggedImage(store, base.repository, base.tag, platform, signal);
  if (image) return image;
  throw new ThinError(
    'not-found',
    `Cannot use base ${base.repository}:${base.tag}: ${store} has no thin image of it`,
  );
}
