import { lstatSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Digest, digestHex } from '../digest.js';
import { fromSystemError, ThinError } from '../errors.js';

/*
 *   <root>/                           0700, ours alone
 *     lock.db, owner                  who has the root now
 *     index.db                        what is here, of which image, used when; made anew if lost
 *     pinned/<hash of image id>       the files of an image that was pulled in full
 *     tiers/<name>/xx/<64 hex>        complete files, 0644, by the SHA-256 of their content
 *     tiers/<name>/.incoming/<n>      files on their way to a name
 *     partial/<64 hex>                large files being filled (partial-trailer.ts)
 *     suspect/xx/<64 hex>             files that an unclean stop may have torn, until verified
 */
export interface CacheLayout {
  readonly root: string;
  readonly tier: string;
  readonly incoming: string;
  readonly partial: string;
  readonly suspect: string;
  readonly pinned: string;
  readonly index: string;
  readonly lock: string;
  readonly owner: string;
}

/** Name of the tier on the cache's own disk. */
export const localTier = 'local';
/** Names of the directories that files are spread over: `00` to `ff`. */
export const fanOut = Array.from({ length: 256 }, (_, at) => at.toString(16).padStart(2, '0'));
export const hexName = /^[0-9a-f]{64}$/;

export function cacheLayout(root: string): CacheLayout {
  const tier = tierDirectory(root, localTier);
  return {
    root,
    tier,
    incoming: join(tier, '.incoming'),
    partial: join(root, 'partial'),
    suspect: join(root, 'suspect'),
    pinned: join(root, 'pinned'),
    index: join(root, 'index.db'),
    lock: join(root, 'lock.db'),
    owner: join(root, 'owner'),
  };
}

/** The directory of tier `name`: what a composed mount gives the kernel as a data-only layer. */
export function tierDirectory(root: string, name: string): string {
  return join(root, 'tiers', name);
}

/** Where a complete file lies in a directory of files by content: `xx/<64 hex>` below it. */
export function tierPath(directory: string, content: Digest): string {
  const hex = digestHex(content);
  return `${directory}/${hex.slice(0, 2)}/${hex}`;
}

/**
 * Makes the root's directories where they are missing. Nobody else may be able to write there: what
 * a co-tenant writes into the cache, containers run.
 * @throws ThinError `invalid` if the root is a symbolic link or no directory; `denied` if it is
 *   another user's, or cannot be made
 */
export function prepareRoot(layout: CacheLayout): void {
  const action = `Cannot use cache directory ${layout.root}`;
  try {
    mkdirSync(layout.root, { recursive: true, mode: 0o700 });
    checkRoot(action, layout.root);
    for (const path of [layout.incoming, layout.partial, layout.suspect, layout.pinned]) {
      mkdirSync(path, { recursive: true, mode: 0o700 });
    }
    for (const path of [layout.tier, layout.suspect]) {
      const there = new Set(readdirSync(path));
      for (const name of fanOut) if (!there.has(name)) mkdirSync(join(path, name));
    }
  } catch (error) {
    throw fromSystemError(action, error);
  }
}

function checkRoot(action: string, root: string): void {
  const found = lstatSync(root);
  if (!found.isDirectory()) {
    throw new ThinError('invalid', `${action}: it is no directory (wanted one, not a link to one)`);
  }
  if (found.uid !== process.geteuid?.()) {
    throw new ThinError('denied', `${action}: it belongs to user ${found.uid} (wanted our own)`);
  }
  if ((found.mode & 0o077) !== 0) {
    const mode = (found.mode & 0o777).toString(8);
    throw new ThinError('denied', `${action}: others may enter it, mode ${mode} (wanted 700)`);
  }
}

/** Removes what an earlier process had on its way to a name. Only with the root locked. */
export function removeIncoming(layout: CacheLayout): void {
  for (const name of readdirSync(layout.incoming)) {
    rmSync(join(layout.incoming, name), { recursive: true });
  }
}
