import { ThinError } from '../errors.js';
import { limits } from '../limits.js';
import type { Descriptor, Platform } from './descriptor.js';
import type { ImageIndex, Manifest } from './manifest.js';
import { indexMediaTypes } from './media-type.js';

/**
 * Entries of one image's index and of the indexes nested in it, these included: the largest known
 * have about 50, and each nested index costs a request.
 */
const entriesMax = 1000;

/**
 * The manifests of an index with those of the indexes inside it, in order. A manifest that states no
 * platform has that of its index.
 * @param read fetches a nested index by its descriptor
 * @throws ThinError `corrupt` if there are more than 1000, or indexes nest more than 4 deep.
 */
export async function listManifests(
  index: ImageIndex,
  read: (descriptor: Descriptor) => Promise<Manifest | ImageIndex>,
): Promise<Descriptor[]> {
  const found: Descriptor[] = [];
  let entries = 0;
  await collect(index, 1, undefined);
  return found;

  async function collect(at: ImageIndex, depth: number, platform?: Platform): Promise<void> {
    if (depth > limits.indexDepthMax) refuse(`indexes nest deeper than ${limits.indexDepthMax}`);
    for (const entry of at.manifests) {
      entries += 1;
      if (entries > entriesMax) refuse(`it has more than ${entriesMax} entries`);
      const inherited = entry.platform ?? platform;
      const nested = indexMediaTypes.includes(entry.mediaType) ? await read(entry) : undefined;
      if (nested?.kind === 'index') await collect(nested, depth + 1, inherited);
      else found.push(inherited ? { ...entry, platform: inherited } : entry);
    }
  }
}

function refuse(problem: string): never {
  throw new ThinError('corrupt', `Cannot read image index: ${problem}`);
}
