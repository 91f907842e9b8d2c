import {
  closeSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Database } from 'better-sqlite3';
import { errnoName } from './disk.js';
import type { IndexedFile } from './index-files.js';
import { getState, type IndexState, setState } from './index-schema.js';
import { type CacheLayout, fanOut, hexName, localTier, type TierLayout } from './layout.js';
import { footerSize, parseFooter } from './partial-trailer.js';
import { storageEpoch } from './storage-epoch.js';

/*
 * At every start the disk and the index are compared. What the index vouches for stays: recorded,
 * synced to the disk after that (or the machine has not stopped since), and not changed since. Every
 * other complete file is set aside until its content was verified: the kernel and the FUSE workers
 * open tier files by path, and must never find one there that a power cut has torn, or that somebody
 * has written to while we were not there. A change shows in the ctime, which no program can set back.
 * Partial files need none of this: their chunks are verified one by one before their first use.
 */

/** Files in one transaction of the tables. */
const batch = 1000;

export interface Recovery {
  /** Files that were set aside to be verified. */
  readonly suspects: number;
  readonly partialFiles: number;
}

/** Records in `place`'s tables what is on the disk. */
export function recover(
  database: Database,
  layout: CacheLayout,
  state: IndexState,
  place: (files: readonly IndexedFile[]) => void,
): Recovery {
  dropTiersBut(database, layout.tiers);
  const epoch = storageEpoch(layout.tiers.map(({ directory }) => directory));
  const nothingLost = getState(database, 'epoch') === epoch;
  setState(database, 'epoch', epoch);
  let suspects = 0;
  for (const tier of layout.tiers) {
    for (const name of fanOut) {
      if (state === 'lost') suspects += setAsideAll(tier, name);
      else suspects += setAsideDoubtful(database, tier, name, nothingLost);
    }
  }
  if (state === 'clean' && knowsPartials(database, layout)) return { suspects, partialFiles: 0 };
  const partials = findPartials(layout);
  database.transaction(() => {
    database.exec('DELETE FROM files WHERE kind = 1');
  })();
  for (let at = 0; at < partials.length; at += batch) place(partials.slice(at, at + batch));
  return { suspects, partialFiles: partials.length };
}

/** Files of a tier that is not ours any more: if it comes back, they are unknown there. */
function dropTiersBut(database: Database, tiers: readonly TierLayout[]): void {
  const names = JSON.stringify(tiers.map(({ name }) => name));
  database
    .prepare('DELETE FROM files WHERE tier NOT IN (SELECT value FROM json_each(?))')
    .run(names);
}

/** Whether any file is waiting to be verified. */
export function hasSuspects({ tiers }: CacheLayout): boolean {
  return tiers.some(({ suspect }) =>
    fanOut.some((name) => readdirSync(join(suspect, name)).length > 0),
  );
}

/** Nothing is known: the whole directory changes places with an empty one. */
function setAsideAll({ directory, suspect }: TierLayout, name: string): number {
  const from = join(directory, name);
  const to = join(suspect, name);
  const names = readdirSync(from);
  if (names.length === 0) return 0;
  try {
    renameSync(from, to); // replaces an empty directory
    mkdirSync(from);
  } catch (error) {
    if (errnoName(error) !== 'ENOTEMPTY' && errnoName(error) !== 'EEXIST') throw error;
    for (const file of names) renameSync(join(from, file), join(to, file));
  }
  return names.length;
}

interface VouchRow {
  readonly id: number;
  readonly digest: Buffer;
  readonly durable: number;
  readonly verified: number;
}

/** Sets aside what the tables do not vouch for, and drops the rows of that and of what is gone. */
function setAsideDoubtful(
  database: Database,
  tier: TierLayout,
  name: string,
  nothingLost: boolean,
): number {
  const rows = database
    .prepare<[string, Buffer, Buffer], VouchRow>(
      `SELECT files.id, digest, durable, verified FROM contents INDEXED BY contents_by_digest
       CROSS JOIN files ON files.content = contents.id AND files.name = x''
       WHERE tier = ? AND substr(digest, 1, 6) BETWEEN ? AND ?`,
    )
    .all(
      tier.name,
      Buffer.from(name.padEnd(12, '0'), 'hex'),
      Buffer.from(name.padEnd(12, 'f'), 'hex'),
    );
  const directory = join(tier.directory, name);
  const here = new Set(readdirSync(directory));
  const drop: number[] = [];
  for (const row of rows) {
    const hex = row.digest.toString('hex');
    // Of what is not synced, the moment when it was recorded is known.
    const good = row.durable === 0 && nothingLost ? row.verified : row.durable;
    const vouched = good > 0 && here.has(hex) && isUnchanged(`${directory}/${hex}`, good);
    if (vouched) here.delete(hex);
    else drop.push(row.id);
  }
  dropFiles(database, drop);
  let suspects = 0;
  for (const file of here) {
    const path = join(directory, file);
    if (hexName.test(file)) {
      renameSync(path, join(tier.suspect, name, file));
      suspects++;
    } else {
      rmSync(path, { recursive: true });
    }
  }
  return suspects;
}

/** @param since milliseconds since 1970, when it was as it should be */
function isUnchanged(path: string, since: number): boolean {
  const found = lstatSync(path, { throwIfNoEntry: false });
  return found !== undefined && Math.floor(found.ctimeMs) <= since;
}

function dropFiles(database: Database, ids: readonly number[]): void {
  if (ids.length === 0) return;
  const dropChunks = database.prepare<[number]>(
    'DELETE FROM chunks WHERE content = (SELECT content FROM files WHERE id = ?)',
  );
  const dropFile = database.prepare<[number]>('DELETE FROM files WHERE id = ?');
  database.transaction(() => {
    for (const id of ids) {
      dropChunks.run(id);
      dropFile.run(id);
    }
  })();
}

/** Whether the tables name exactly the partial files that there are. */
function knowsPartials(database: Database, { partial }: CacheLayout): boolean {
  const known = database
    .prepare<[], { name: Buffer }>('SELECT name FROM files WHERE kind = 1')
    .all();
  const here = new Set(readdirSync(partial));
  return known.length === here.size && known.every(({ name }) => here.has(name.toString('hex')));
}

/** The partial files that say what they are part of; the others are removed. */
function findPartials(layout: CacheLayout): IndexedFile[] {
  const found: IndexedFile[] = [];
  for (const name of readdirSync(layout.partial)) {
    const path = join(layout.partial, name);
    const partial = hexName.test(name) ? readPartial(path, name) : undefined;
    if (partial === undefined) rmSync(path, { recursive: true });
    else found.push(partial);
  }
  return found;
}

function readPartial(path: string, name: string): IndexedFile | undefined {
  if (!lstatSync(path).isFile()) return undefined;
  const fd = openSync(path, 'r');
  try {
    const { size, blocks } = fstatSync(fd);
    const footer = Buffer.alloc(footerSize);
    readSync(fd, footer, 0, footerSize, Math.max(0, size - footerSize));
    const file = parseFooter(footer);
    if (file === undefined) return undefined;
    return { ...file, kind: 'partial', name, tier: localTier, allocated: blocks * 512 };
  } finally {
    closeSync(fd);
  }
}
