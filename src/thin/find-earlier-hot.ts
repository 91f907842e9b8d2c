import { type Digest, isDigest } from '../digest.js';
import { isThinError } from '../errors.js';
import { formatPlatform } from '../image/platform.js';
import type { BaseImage } from './base-image.js';
import { findHotIndex } from './find-hot-index.js';
import { commandFor, type HotCommand, type HotIndex } from './hot-index.js';
import { imageOfHot, isHotOfOther } from './hot-manifest.js';
import type { ListedManifest, ThinImageSource } from './image-store.js';

/** Earlier versions that are looked at: named, by the tag, by what is published of the image. */
const earlierMax = 4;

export interface ImageOfTag {
  /** Registry host and repository. */
  readonly repository: string;
  readonly tag: string | undefined;
  /** A version before it that the user has named. */
  readonly base?: BaseImage | undefined;
  /** Of the original manifest. */
  readonly image: Digest;
  readonly platform: string;
  /** What is published of it now. */
  readonly commands: readonly HotCommand[];
}

/**
 * What was published of versions of an image before this one: of the one that was named, of the image
 * that the tag was of when it was published last, and of the one that what is published of this one was
 * told from.
 * @throws ThinError `denied`, `unavailable`, `canceled`; what is gone or cannot be read is passed over
 */
export async function findEarlierHot(
  store: ThinImageSource,
  { repository, tag, base, image, platform, commands }: ImageOfTag,
  signal: AbortSignal,
): Promise<HotIndex[]> {
  const names = [base ?? [], tag === undefined ? [] : { repository, tag }].flat();
  const found = names.map((one) => store.tagged(one.repository, one.tag, signal).catch(orNone));
  const tagged = (await Promise.all(found)).flat();
  const lists = new Map<Digest, readonly ListedManifest[]>();
  for (const listed of tagged.filter((one) => isHotOfOther(one, image))) {
    const earlier = imageOfHot(listed);
    const isSame = listed.platform !== undefined && formatPlatform(listed.platform) === platform;
    if (isSame && earlier !== undefined && isDigest(earlier)) lists.set(earlier, [listed]);
  }
  for (const { delta } of commands) {
    if (!delta || lists.has(delta.image) || lists.size >= earlierMax) continue;
    const listed = await store.referrers(repository, delta.image, undefined, signal).catch(orNone);
    lists.set(delta.image, listed);
  }
  const indexes: HotIndex[] = [];
  for (const [earlier, listed] of [...lists].slice(0, earlierMax)) {
    const hot = await findHotIndex(store, listed, earlier, signal).catch(orNothing);
    if (hot) indexes.push(hot.index);
  }
  return indexes;
}

/** Of the first of the versions that has a command like this one. */
export function earlierCommand(
  earlier: readonly HotIndex[],
  args: readonly string[],
): { readonly image: Digest; readonly command: HotCommand } | undefined {
  for (const { image, commands } of earlier) {
    const command = commandFor(commands, args);
    if (command) return { image, command };
  }
  return undefined;
}

function orNothing(error: unknown): undefined {
  if (!isThinError(error, 'corrupt', 'not-found', 'invalid')) throw error;
}

function orNone(error: unknown): [] {
  orNothing(error);
  return [];
}
