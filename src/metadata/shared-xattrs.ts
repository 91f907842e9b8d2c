import { sharedXattrsMax, xattrAreaMax, xattrHeader, xattrUnit } from './erofs-layout.js';
import { fileAreaBytes, plainFile, writeFileArea } from './file-xattrs.js';
import type { ImagePieces } from './image-pieces.js';
import { type InodePlan, refusal } from './inode-plan.js';
import type { InodeTable } from './inode-table.js';
import { entryBytes, type StoredXattr, storedXattrs, writeEntry } from './stored-xattrs.js';

/** Bytes of a value that is looked for in other inodes: labels, ACLs and capabilities have fewer. */
const sharedValueBytesMax = 256;

/**
 * The xattrs that several inodes have with the same value (SELinux labels, default ACLs), kept once
 * for all of them.
 */
export interface SharedXattrs {
  readonly bytes: number;
  readonly entries: readonly StoredXattr[];
  /** Place of an entry in the shared area, in units; undefined if it is not there. */
  idOf(xattr: StoredXattr): number | undefined;
}

/** Finds the xattrs worth sharing, in the order in which `plans` have them. */
export function shareXattrs(plans: InodeTable): SharedXattrs {
  const seen = new Map<string, StoredXattr | 'repeated'>();
  const ids = new Map<string, number>();
  const entries: StoredXattr[] = [];
  let bytes = 0;
  plans.forEach((plan) => {
    if (!mayShare(plan)) return;
    for (const xattr of storedXattrs(plan)) {
      if (xattr.value.length > sharedValueBytesMax) continue;
      const key = keyOf(xattr);
      const before = seen.get(key);
      if (before === undefined) seen.set(key, xattr);
      if (before === undefined || before === 'repeated') continue;
      seen.set(key, 'repeated');
      ids.set(key, bytes / xattrUnit);
      entries.push(xattr);
      bytes += entryBytes(xattr);
    }
  });
  return { bytes, entries, idOf };

  function idOf(xattr: StoredXattr): number | undefined {
    return xattr.value.length > sharedValueBytesMax ? undefined : ids.get(keyOf(xattr));
  }
}

/** Most files have the two overlay xattrs only, whose values are as many as there are contents. */
function mayShare({ node, directory }: InodePlan): boolean {
  return node.xattrs.size > 0 || directory?.holdsWhiteout === true;
}

function keyOf({ prefix, name, value }: StoredXattr): string {
  return `${prefix}${name}\0${value}`;
}

interface XattrArea {
  readonly ids: readonly number[];
  readonly inline: readonly StoredXattr[];
}

function areaOf(plan: InodePlan, shared: SharedXattrs): XattrArea {
  const all = storedXattrs(plan);
  if (!mayShare(plan)) return { ids: [], inline: all };
  const ids: number[] = [];
  const inline = all.filter((xattr) => {
    const id = ids.length < sharedXattrsMax ? shared.idOf(xattr) : undefined;
    if (id !== undefined) ids.push(id);
    return id === undefined;
  });
  return { ids, inline };
}

/**
 * Bytes of an inode's xattr area.
 * @throws ThinError `invalid` if they are more than the format can say
 */
export function xattrAreaBytes(plan: InodePlan, shared: SharedXattrs): number {
  if (plainFile(plan) !== undefined) return fileAreaBytes;
  const { ids, inline } = areaOf(plan, shared);
  if (ids.length + inline.length === 0) return 0;
  const entries = inline.reduce((sum, xattr) => sum + entryBytes(xattr), 0);
  const bytes = xattrHeader.size + ids.length * xattrUnit + entries;
  if (bytes <= xattrAreaMax) return bytes;
  throw refusal(plan, `its xattrs take ${bytes} bytes (wanted at most ${xattrAreaMax})`);
}

/** Writes the xattr area of `plan` at `at`. */
export function writeXattrArea(
  out: Buffer,
  at: number,
  plan: InodePlan,
  shared: SharedXattrs,
): void {
  const file = plainFile(plan);
  if (file !== undefined) {
    writeFileArea(out, at, file.content);
    return;
  }
  const { ids, inline } = areaOf(plan, shared);
  out.writeUInt8(ids.length, at + xattrHeader.sharedCount);
  let next = at + xattrHeader.size;
  for (const id of ids) next = out.writeUInt32LE(id, next);
  for (const xattr of inline) next = writeEntry(out, next, xattr);
}

/** Writes them from `at` on in the image. */
export function writeSharedXattrs(pieces: ImagePieces, at: number, shared: SharedXattrs): void {
  let next = at;
  for (const xattr of shared.entries) {
    const bytes = entryBytes(xattr);
    writeEntry(pieces.window, pieces.place(next, bytes), xattr);
    next += bytes;
  }
}
