import type { CacheParts } from './cache-parts.js';
import type { FileRef, ListedFiles } from './file-origin.js';
import { packFiles, unpackFiles } from './packed-files.js';
import type { SharedOffer } from './shared-files.js';

/** For the other nodes, where none of our tiers is the one that they have in common. Never fails. */
export async function offerFile(
  { files, shared }: Pick<CacheParts, 'files' | 'shared'>,
  file: FileRef,
): Promise<void> {
  // What a failing disk keeps from them they fetch.
  const tier = shared && (await files.find(file.content).catch(() => undefined));
  if (tier) shared.offer(file, tier.path(file.content));
}

/** @see FileCache.pinImage */
export async function pinImage(
  parts: CacheParts,
  image: string,
  files: ListedFiles,
  metadata: string,
): Promise<void> {
  await parts.images.pin(image, files, metadata);
  if (!parts.shared) return;
  const listed = [...files];
  parts.shared.offerAll(offersOf(parts, packFiles(listed, listed.length)), listed.length);
}

/** As each is drawn: a file that has left meanwhile, or cannot be looked for, is passed over. */
async function* offersOf(
  { files }: Pick<CacheParts, 'files'>,
  packed: Buffer,
): AsyncGenerator<SharedOffer> {
  for (const file of unpackFiles(packed)) {
    if (file.size === 0) continue;
    const tier = await files.find(file.content).catch(() => undefined);
    if (tier) yield { file, path: tier.path(file.content) };
  }
}
