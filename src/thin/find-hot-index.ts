import { ThinError } from '../errors.js';
import { inlinedContent } from '../image/inlined-content.js';
import { limits } from '../limits.js';
import { type HotIndex, parseHotIndex } from './hot-index.js';
import { newestHotManifest, parseHotManifest } from './hot-manifest.js';
import type { ListedManifest, ThinImageSource } from './image-store.js';
import { readWhole } from './wire-blob.js';

export interface FoundHotIndex {
  readonly index: HotIndex;
  readonly bytes: Buffer;
  readonly generation: number;
  readonly manifest: ListedManifest;
}

/**
 * What was published of the hot files of an image: the newest of the hot manifests that are listed
 * beside its thin manifest.
 * @param image digest of the original manifest
 * @returns undefined if nobody published any
 * @throws ThinError `corrupt`, `invalid`, and what the store throws
 */
export async function findHotIndex(
  store: ThinImageSource,
  listed: readonly ListedManifest[],
  image: string,
  signal: AbortSignal,
): Promise<FoundHotIndex | undefined> {
  const newest = newestHotManifest(listed);
  if (!newest) return undefined;
  const { manifest, generation } = newest;
  if (manifest.size > limits.manifestBytesMax) {
    throw new ThinError('corrupt', `Cannot read hot manifest: it has ${manifest.size} bytes`);
  }
  const manifestBytes = inlinedContent(manifest) ?? (await store.readManifest(manifest, signal));
  const blob = parseHotManifest(manifestBytes, image);
  const bytes = await readWhole(store, blob, signal);
  const index = parseHotIndex(bytes);
  if (index.image === image) return { index, bytes, generation, manifest };
  throw new ThinError('corrupt', `Cannot use hot index: it is of the image ${index.image}`);
}
