import type { Digest } from '../digest.js';
import { isThinError, ThinError } from '../errors.js';
import { inlinedContent } from '../image/inlined-content.js';
import { limits } from '../limits.js';
import { type CommandPack, type HotIndex, parseHotIndex } from './hot-index.js';
import { type HotManifest, hotManifestsOf, parseHotManifest } from './hot-manifest.js';
import type { ListedManifest, ThinImageSource } from './image-store.js';
import { readWhole } from './wire-blob.js';

/** Told where packs are as soon as that is known: the index itself takes longer. */
export type OnPacks = (packs: readonly CommandPack[]) => void;

export interface FoundHotIndex extends HotManifest {
  readonly index: HotIndex;
  readonly bytes: Buffer;
}

/**
 * What was published of the hot files of an image: the newest of the hot manifests that are listed
 * beside its thin manifest, or the newest that can be read.
 * @param image digest of the original manifest
 * @returns undefined if nobody published any
 * @throws ThinError `corrupt`, `not-found` if there are some and none can be used; `invalid` if a newer
 *   thin wrote the newest; what the store throws
 */
export async function findHotIndex(
  store: ThinImageSource,
  listed: readonly ListedManifest[],
  image: Digest,
  signal: AbortSignal,
  onPacks: OnPacks = () => {},
): Promise<FoundHotIndex | undefined> {
  let problem: ThinError | undefined;
  for (const candidate of hotManifestsOf(listed, image)) {
    try {
      return await readCandidate(store, candidate, image, signal, onPacks);
    } catch (error) {
      if (!isThinError(error, 'corrupt', 'not-found')) throw error;
      problem ??= error;
    }
  }
  if (problem) throw problem;
  return undefined;
}

async function readCandidate(
  store: ThinImageSource,
  { manifest, generation }: HotManifest,
  image: Digest,
  signal: AbortSignal,
  onPacks: OnPacks,
): Promise<FoundHotIndex> {
  if (manifest.size > limits.manifestBytesMax) {
    throw new ThinError('corrupt', `Cannot read hot manifest: it has ${manifest.size} bytes`);
  }
  const manifestBytes = inlinedContent(manifest) ?? (await store.readManifest(manifest, signal));
  const blobs = parseHotManifest(manifestBytes, image);
  onPacks(blobs.packs);
  const bytes = await readWhole(store, blobs.index, signal);
  const index = parseHotIndex(bytes);
  onPacks(index.commands);
  if (index.image === image) return { index, bytes, generation, manifest };
  throw new ThinError('corrupt', `Cannot use hot index: it is of the image ${index.image}`);
}
