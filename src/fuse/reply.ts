import type { ByteString } from '../byte-string.js';
import type { NodeAttributes } from './namespace.js';
import { replyHeaderBytes } from './protocol.js';

/** Seconds for which the kernel may keep names and attributes: images never change. */
const validSeconds = 10 ** 9;

const attributesBytes = 88;
export const attributesReplyBytes = 16 + attributesBytes;
export const entryReplyBytes = 40 + attributesBytes;
const directoryEntryBytes = 24;
const statisticsBytes = 80;

/** `fuse_out_header`. @param error 0 or a positive error number */
export function writeReplyHeader(
  out: Buffer,
  unique: bigint,
  error: number,
  bodyBytes: number,
): void {
  out.writeUInt32LE(replyHeaderBytes + bodyBytes, 0);
  out.writeInt32LE(-error, 4);
  out.writeBigUInt64LE(unique, 8);
}

/** `fuse_entry_out`: the answer to LOOKUP. */
export function writeEntry(body: Buffer, node: number, attributes: NodeAttributes): number {
  writeEntryAt(body, 0, node, attributes);
  return entryReplyBytes;
}

/** `fuse_entry_out` for a name that does not exist, which the kernel may remember too. */
export function writeAbsentEntry(body: Buffer): number {
  body.fill(0, 0, entryReplyBytes);
  writeUint64(body, validSeconds, 16);
  return entryReplyBytes;
}

/** `fuse_attr_out`: the answer to GETATTR. */
export function writeAttributesReply(body: Buffer, attributes: NodeAttributes): number {
  body.fill(0, 0, 16);
  writeUint64(body, validSeconds, 0);
  writeAttributes(body, 16, attributes);
  return attributesReplyBytes;
}

/** `fuse_statfs_out` */
export function writeStatistics(body: Buffer, inodes: number, bytes: number): number {
  const blockBytes = 4096;
  body.fill(0, 0, statisticsBytes);
  writeUint64(body, Math.ceil(bytes / blockBytes), 0);
  writeUint64(body, inodes, 24);
  body.writeUInt32LE(blockBytes, 40);
  body.writeUInt32LE(255, 44); // the longest name
  body.writeUInt32LE(blockBytes, 48);
  return statisticsBytes;
}

/** One record of a directory listing. `node` is the inode number that programs see. */
export interface ListedName {
  readonly name: ByteString;
  readonly inode: number;
  /** Type bits of a mode (`S_IFMT`) shifted right by 12: `d_type` of readdir(3). */
  readonly type: number;
  /** Where a listing goes on after this name; never 0. */
  readonly next: number;
}

export interface FoundNode {
  readonly node: number;
  readonly attributes: NodeAttributes;
}

/** Bytes of one `fuse_dirent` (or `fuse_direntplus`), which starts on a multiple of 8. */
export function listedNameBytes(name: ByteString, plus: boolean): number {
  const fixed = directoryEntryBytes + (plus ? entryReplyBytes : 0);
  return Math.ceil((fixed + name.length) / 8) * 8;
}

/** `fuse_dirent` at `at`. */
export function writeListedName(body: Buffer, at: number, listed: ListedName): void {
  const { name } = listed;
  const end = at + listedNameBytes(name, false);
  writeUint64(body, listed.inode, at);
  writeUint64(body, listed.next, at + 8);
  body.writeUInt32LE(name.length, at + 16);
  body.writeUInt32LE(listed.type, at + 20);
  body.write(name, at + directoryEntryBytes, 'latin1');
  body.fill(0, at + directoryEntryBytes + name.length, end);
}

/**
 * `fuse_direntplus` at `at`.
 * @param found its node and attributes; absent for `.` and `..`, which the kernel does not look up
 */
export function writeListedNamePlus(
  body: Buffer,
  at: number,
  listed: ListedName,
  found: FoundNode | undefined,
): void {
  if (found) writeEntryAt(body, at, found.node, found.attributes);
  else body.fill(0, at, at + entryReplyBytes);
  writeListedName(body, at + entryReplyBytes, listed);
}

function writeEntryAt(body: Buffer, at: number, node: number, attributes: NodeAttributes): void {
  writeUint64(body, node, at);
  writeUint64(body, attributes.generation, at + 8);
  writeUint64(body, validSeconds, at + 16);
  writeUint64(body, validSeconds, at + 24);
  writeUint64(body, 0, at + 32);
  writeAttributes(body, at + 40, attributes);
}

/** `fuse_attr` */
function writeAttributes(body: Buffer, at: number, attributes: NodeAttributes): void {
  const { mtime } = attributes;
  writeUint64(body, attributes.inode, at);
  writeUint64(body, attributes.size, at + 8);
  writeUint64(body, Math.ceil(attributes.size / 512), at + 16);
  for (const field of [24, 32, 40]) writeUint64(body, mtime.seconds, at + field);
  for (const field of [48, 52, 56]) body.writeUInt32LE(mtime.nanoseconds, at + field);
  body.writeUInt32LE(attributes.mode, at + 60);
  body.writeUInt32LE(attributes.nlink, at + 64);
  body.writeUInt32LE(attributes.uid, at + 68);
  body.writeUInt32LE(attributes.gid, at + 72);
  body.writeUInt32LE(attributes.rdev, at + 76);
  body.writeUInt32LE(4096, at + 80); // st_blksize
  body.writeUInt32LE(0, at + 84);
}

/** A safe integer, negative ones (seconds before 1970) as two's complement. */
function writeUint64(body: Buffer, value: number, at: number): void {
  body.writeUInt32LE(value >>> 0, at);
  body.writeInt32LE(Math.floor(value / 2 ** 32), at + 4);
}
