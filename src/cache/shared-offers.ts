import type { CacheParts } from './cache-parts.js';
import type { FileRef } from './file-origin.js';

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
  files: Iterable<FileRef>,
): Promise<void> {
  if (!parts.shared) return await parts.images.pin(image, files);
  const listed = [...files];
  await parts.images.pin(image, listed);
  for (const file of listed) if (file.size > 0) await offerFile(parts, file);
}
