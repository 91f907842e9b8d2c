import type { ByteString } from '../byte-string.js';
import { alignUp, xattrEntry, xattrUnit } from './erofs-layout.js';
import { type InodePlan, isWhiteout } from './inode-plan.js';
import {
  addedXattr,
  escapeXattr,
  metacopyXattr,
  redirectTo,
  redirectXattr,
  type StandIn,
  standInXattr,
  whiteoutDirectoryStandIns,
  whiteoutFileStandIns,
} from './overlay-xattrs.js';
import { writeLatin1 } from './write-latin1.js';
import { splitXattrName, type XattrName } from './xattr-name.js';

/** An xattr as an image has it. */
export interface StoredXattr extends XattrName {
  readonly value: ByteString;
}

/**
 * The xattrs that an inode gets in the image, its own in byte order of their names. Those whose
 * namespace Linux does not have are left out, as no file on Linux can have them.
 */
export function storedXattrs(plan: InodePlan): StoredXattr[] {
  const { node } = plan;
  const stored: StoredXattr[] = [];
  if (node.type === 'file' && node.size > 0) {
    push(stored, redirectXattr, redirectTo(node.content));
    push(stored, metacopyXattr, '' as ByteString);
  }
  const standIns = standInsOf(plan);
  if (node.xattrs.size === 0 && standIns === undefined) return stored;

  const own = [...node.xattrs.keys()].map((name) => ({ name, as: escapeXattr(name) }));
  for (const { name, as } of own.sort((a, b) => (a.as < b.as ? -1 : 1))) {
    const value = node.xattrs.get(name);
    if (value !== undefined) push(stored, as, value.toString('latin1') as ByteString);
  }
  if (standIns === undefined) return stored;

  const taken = new Set<string>(own.map(({ as }) => as));
  const added = standIns.filter(({ name }) => !taken.has(standInXattr(name)));
  for (const { name, value } of added) push(stored, standInXattr(name), value as ByteString);
  push(stored, addedXattr, added.map(({ name }) => name).join(',') as ByteString);
  return stored;
}

function standInsOf({ node, directory }: InodePlan): readonly StandIn[] | undefined {
  if (directory?.holdsWhiteout) return whiteoutDirectoryStandIns;
  return isWhiteout(node) ? whiteoutFileStandIns : undefined;
}

function push(stored: StoredXattr[], fullName: ByteString, value: ByteString): void {
  const split = splitXattrName(fullName);
  // No spread: V8 makes garbage of it that only a full collection finds, some 300 bytes an inode.
  if (split !== undefined) stored.push({ prefix: split.prefix, name: split.name, value });
}

/** Bytes of an entry, padding included. */
export function entryBytes({ name, value }: StoredXattr): number {
  return alignUp(xattrEntry.headerSize + name.length + value.length, xattrUnit);
}

/** Writes an entry at `at`, and returns where the next one goes. */
export function writeEntry(out: Buffer, at: number, xattr: StoredXattr): number {
  out.writeUInt8(xattr.name.length, at + xattrEntry.nameLength);
  out.writeUInt8(xattr.prefix, at + xattrEntry.prefix);
  out.writeUInt16LE(xattr.value.length, at + xattrEntry.valueLength);
  const nameAt = at + xattrEntry.headerSize;
  writeLatin1(out, xattr.name, nameAt);
  writeLatin1(out, xattr.value, nameAt + xattr.name.length);
  return at + entryBytes(xattr);
}
