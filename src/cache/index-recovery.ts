import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Database } from 'better-sqlite3';
import { errnoName } from './disk.js';
import type { IndexedFile } from './index-files.js';
import { type CacheLayout, fanOut, hexName } from './layout.js';
import { footerSize, parseFooter } from './partial-trailer.js';

/*
 * After an unclean stop the disk and the index are compared. What the index vouches for (recorded,
 * and synced to the disk after that) stays. Every other complete file goes to `suspect/` until its
 * content was verified: the kernel and the FUSE workers open tier files by path, and must never find
 * one there that a power cut has torn. Partial files need none of this: their chunks are verified
 * one by one before their first use.
 */

/** Files in one transaction of the tables. */
const batch = 1000;

export interface Recovery {
  /** Files that were set aside to be verified. */
  readonly suspects: number;
  readonly partialFiles: number;
}

/** Records in `apply`'s tables what is on the disk. `fresh`: the tables were empty to begin with. */
export function recover(
  database: Database,
  layout: CacheLayout,
  fresh: boolean,
  place: (files: readonly IndexedFile[]) => void,
): Recovery {
  let suspects = 0;
  for (const name of fanOut) {
    suspects += fresh ? setAsideAll(layout, name) : setAsideUnknown(database, layout, name);
  }
  const partials = findPartials(layout);
  database.transaction(() => {
    database.exec('DELETE FROM files WHERE kind = 1');
  })();
  for (let at = 0; at < partials.length; at += batch) place(partials.slice(at, at + batch));
  return { suspects, partialFiles: partials.length };
}

/** Whether any file is waiting to be verified. */
export function hasSuspects(layout: CacheLayout): boolean {
  return fanOut.some((name) => readdirSync(join(layout.suspect, name)).length > 0);
}

/** Nothing is known: the whole directory changes places with an empty one. */
function setAsideAll(layout: CacheLayout, name: string): number {
  const from = join(layout.tier, name);
  const to = join(layout.suspect, name);
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

/** Sets aside what the tables do not vouch for, and drops rows whose files are gone. */
function setAsideUnknown(database: Database, layout: CacheLayout, name: string): number {
  const rows = database
    .prepare<[Buffer, Buffer], { id: number; name: Buffer; durable: number }>(
      'SELECT id, name, durable FROM files WHERE kind = 0 AND name BETWEEN ? AND ?',
    )
    .all(Buffer.from(name.padEnd(64, '0'), 'hex'), Buffer.from(name.padEnd(64, 'f'), 'hex'));
  const here = new Set(readdirSync(join(layout.tier, name)));
  const vouched = new Set<string>();
  const drop: number[] = [];
  for (const row of rows) {
    const hex = row.name.toString('hex');
    if (row.durable === 1 && here.has(hex)) vouched.add(hex);
    else drop.push(row.id);
  }
  database.transaction(() => {
    for (const id of drop) {
      database.prepare('DELETE FROM chunks WHERE file = ?').run(id);
      database.prepare('DELETE FROM files WHERE id = ?').run(id);
    }
  })();
  let suspects = 0;
  for (const file of here) {
    if (vouched.has(file)) continue;
    const path = join(layout.tier, name, file);
    if (hexName.test(file)) {
      renameSync(path, join(layout.suspect, name, file));
      suspects++;
    } else {
      rmSync(path, { recursive: true });
    }
  }
  return suspects;
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
  if (!statSync(path).isFile()) return undefined;
  const fd = openSync(path, 'r');
  try {
    const { size, blocks } = fstatSync(fd);
    const footer = Buffer.alloc(footerSize);
    readSync(fd, footer, 0, footerSize, Math.max(0, size - footerSize));
    const file = parseFooter(footer);
    if (file === undefined) return undefined;
    return { ...file, kind: 'partial', name, allocated: blocks * 512 };
  } finally {
    closeSync(fd);
  }
}
