import { lstatSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { type Digest, digestHex } from '../digest.js';
import { fromSystemError, ThinError } from '../errors.js';

/*
 *   <root>/                           0700, ours alone
 *     lock.db, owner                  who has the root now
 *     index.db                        what is here, of which image, used when; made anew if lost
 *     pinned/<image id>.erofs         the files of an image that was pulled in full
 *     tiers/local/xx/<64 hex>         complete files, 0644, by the SHA-256 of their content
 *     tiers/local/.incoming/<n>       files on their way to a name
 *     partial/<64 hex>                large files being filled (partial-trailer.ts)
 *     suspect/xx/<64 hex>             files that may be torn or changed, until verified
 *
 *   <directory of another tier>/      0700, ours alone; anywhere, on any disk
 *     .lock.db, .owner                who has it now
 *     xx/<64 hex>, .incoming/<n>, .suspect/xx/<64 hex>
 */

/** What a lock needs to know: a directory, and two files in it. */
export interface LockPlace {
  readonly directory: string;
  readonly lock: string;
  readonly owner: string;
}

export interface TierPlace {
  readonly name: string;
  /** Absolute. */
  readonly directory: string;
}

export interface TierLayout extends TierPlace {
  readonly incoming: string;
  readonly suspect: string;
}

export interface CacheLayout {
  readonly root: string;
  /** In the order in which files are looked for: the faster ones, then `local`. */
  readonly tiers: readonly TierLayout[];
  readonly partial: string;
  readonly pinned: string;
  readonly index: string;
}

/** Name of the tier on the cache's own disk. */
export const localTier = 'local';
/** Names of the directories that files are spread over: `00` to `ff`. */
export const fanOut = Array.from({ length: 256 }, (_, at) => at.toString(16).padStart(2, '0'));
export const hexName = /^[0-9a-f]{64}$/;
const tierName = /^[a-z][a-z0-9-]{0,31}$/;

/**
 * @param faster the tiers before `local`
 * @throws ThinError `invalid` for names and directories that cannot be theirs
 */
export function cacheLayout(root: string, faster: readonly TierPlace[] = []): CacheLayout {
  const names = new Set([localTier]);
  for (const { name, directory } of faster) {
    if (!tierName.test(name) || names.has(name)) {
      throw new ThinError(
        'invalid',
        `Cannot use tier "${name}": wanted a name of its own, of lower-case letters and digits`,
      );
    }
    if (!isAbsolute(directory)) {
      throw new ThinError('invalid', `Cannot use tier ${name}: ${directory} is not absolute`);
    }
    names.add(name);
  }
  return {
    root,
    tiers: [...faster.map(fasterLayout), localLayout(root)],
    partial: join(root, 'partial'),
    pinned: join(root, 'pinned'),
    index: join(root, 'index.db'),
  };
}

function localLayout(root: string): TierLayout {
  const directory = tierDirectory(root, localTier);
  return {
    name: localTier,
    directory,
    incoming: join(directory, '.incoming'),
    suspect: join(root, 'suspect'),
  };
}

function fasterLayout({ name, directory }: TierPlace): TierLayout {
  const incoming = join(directory, '.incoming');
  return { name, directory, incoming, suspect: join(directory, '.suspect') };
}

/** What nobody else has while a daemon has this root. */
export function rootLockPlace(root: string): LockPlace {
  return { directory: root, lock: join(root, 'lock.db'), owner: join(root, 'owner') };
}

/** Everything that must be ours alone, to be locked in this order. */
export function lockPlaces({ root, tiers }: CacheLayout): LockPlace[] {
  const others = tiers.filter(({ name }) => name !== localTier);
  return [
    rootLockPlace(root),
    ...others.map(({ directory }) => ({
      directory,
      lock: join(directory, '.lock.db'),
      owner: join(directory, '.owner'),
    })),
  ];
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
 * Makes the root's and the tiers' directories where they are missing. Nobody else may be able to
 * write there: what a co-tenant writes into the cache, containers run.
 * @throws ThinError `invalid` if one is a symbolic link or no directory; `denied` if it is another
 *   user's, or cannot be made
 */
export function prepareRoot(layout: CacheLayout): void {
  makeOwn(layout.root, [layout.partial, layout.pinned]);
  for (const { name, directory, incoming, suspect } of layout.tiers) {
    makeOwn(name === localTier ? layout.root : directory, [directory, incoming, suspect]);
    for (const path of [directory, suspect]) {
      const there = new Set(readdirSync(path));
      // Of daemons that start at once only one will have the lock: another may make them as well.
      for (const xx of fanOut) if (!there.has(xx)) mkdirSync(join(path, xx), { recursive: true });
    }
  }
}

function makeOwn(directory: string, inside: readonly string[]): void {
  const action = `Cannot use cache directory ${directory}`;
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    checkRoot(action, directory);
    for (const path of inside) mkdirSync(path, { recursive: true, mode: 0o700 });
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
export function removeIncoming({ tiers }: CacheLayout): void {
  for (const { incoming } of tiers) {
    for (const name of readdirSync(incoming)) rmSync(join(incoming, name), { recursive: true });
  }
}
