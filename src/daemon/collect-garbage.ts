import type { FileCache } from '../cache/file-cache.js';
import { parseDigest } from '../digest.js';
import { isThinError, ThinError } from '../errors.js';
import type { ControlResults } from './control-api.js';
import type { ImageFolder } from './image-folder.js';
import type { LiveImages } from './live-images.js';
import type { NodeMounts } from './node-mounts.js';

export interface GarbageParts {
  readonly cache: FileCache;
  readonly images: ImageFolder;
  readonly live: LiveImages;
  readonly mounted: NodeMounts;
}

/**
 * Files of no image go always; with `all`, images that nothing has mounted go too.
 * @throws ThinError `busy` if with `all` it cannot be told which are mounted
 */
export async function collectGarbage(
  { cache, images, live, mounted }: GarbageParts,
  all: boolean,
): Promise<ControlResults['gc']> {
  const [left] = mounted.left;
  if (all && left) {
    const what = `${left.kind} ${left.id} was left as it is, and may use any`;
    throw new ThinError('busy', `Cannot remove images: ${what} (wanted: thin rm ${left.id})`);
  }
  await mounted.containers.removeEnded();
  await mounted.closeIdle();
  const before = await cache.usage();
  let removed = 0;
  for (const record of all ? images.list() : []) {
    if (mounted.isWanted(record.manifest)) continue; // now: the others have taken their time
    const manifest = parseDigest(record.manifest);
    // At one stroke for who asks for it from here on: it is brought again.
    const removal = images.remove(manifest);
    live.forget(manifest);
    await removal;
    await live.arrivals.forget(manifest);
    await cache.unpinImage(manifest);
    removed += 1;
  }
  for (const record of images.list()) {
    if (mounted.isWanted(record.manifest)) continue;
    const image = await live.get(parseDigest(record.manifest)).catch(unlessDamaged);
    if (image) await cache.rememberImage(record.manifest, image.files());
  }
  await cache.gc({ keepImages: images.list().map(({ manifest }) => manifest) });
  const after = await cache.usage();
  return {
    bytes: Math.max(0, before.bytes - after.bytes),
    files: Math.max(0, before.completeFiles - after.completeFiles),
    images: removed,
  };
}

/** Who uses it next fetches it again: until then nobody can tell which files it has. */
function unlessDamaged(error: unknown): undefined {
  if (!isThinError(error, 'corrupt', 'not-found')) throw error;
}
