import type { Device, NodeType, Time } from '../image/tree.js';
import {
  blockSize,
  chunkIndexSize,
  dataLayout,
  extendedInode,
  fileSizeMax,
  inodeRecord,
  slotSize,
  xattrAreaSize,
} from './erofs-layout.js';
import { nodeTypeOfMode } from './erofs-node-type.js';
import { corrupt, type ImageBytes } from './image-bytes.js';

/** What is needed to find the parts of an inode. */
export interface InodeHead {
  readonly nid: number;
  /** Where the record is, in bytes. */
  readonly at: number;
  readonly type: NodeType;
  readonly mode: number;
  readonly size: number;
  readonly layout: number;
  readonly union: number;
  readonly xattrBytes: number;
}

/** @throws ThinError `corrupt` if there is no inode that our writer could have made. */
export function readHead(bytes: ImageBytes, nid: number): InodeHead {
  const at = nid * slotSize;
  if (!Number.isInteger(at)) throw corrupt(`${nid} is no inode number`);
  bytes.check(at, inodeRecord.size);
  const format = bytes.u16(at + inodeRecord.format);
  const layout = format >> 1;
  const known = layout === dataLayout.flat || layout === dataLayout.inlineTail;
  if ((format & extendedInode) === 0 || !(known || layout === dataLayout.chunked)) {
    throw corrupt(`inode ${nid} has format ${format}, which this version does not know`);
  }
  const mode = bytes.u16(at + inodeRecord.mode);
  const type = nodeTypeOfMode(mode);
  if (type === undefined) throw corrupt(`inode ${nid} has mode 0${mode.toString(8)}`);
  const size = bytes.u64(at + inodeRecord.fileSize);
  checkLayout(nid, type, size, layout);
  const xattrBytes = xattrAreaSize(bytes.u16(at + inodeRecord.xattrCount));
  const union = bytes.u32(at + inodeRecord.union);
  return { nid, at, type, mode: mode & 0o7777, size, layout, union, xattrBytes };
}

/** A file with data has none here; nothing else is chunked, and only three types have a size. */
function checkLayout(nid: number, type: NodeType, size: number, layout: number): void {
  const sized = type === 'file' || type === 'directory' || type === 'symlink';
  const chunked = type === 'file' && size > 0;
  if (chunked === (layout === dataLayout.chunked) && size <= (sized ? fileSizeMax : 0)) return;
  throw corrupt(`inode ${nid}, a ${type} of ${size} bytes, has data layout ${layout}`);
}

/** Where what follows the xattrs of an inode is, in bytes. */
function inlineAt(head: InodeHead): number {
  return head.at + inodeRecord.size + head.xattrBytes;
}

/**
 * Where block `index` of a directory's or symlink's data is, in bytes.
 * @throws ThinError `corrupt` unless all bytes that the inode has in that block are in the image
 */
export function blockAt(bytes: ImageBytes, head: InodeHead, index: number): number {
  const length = blockLength(head, index);
  const inline = head.layout === dataLayout.inlineTail && (index + 1) * blockSize >= head.size;
  const at = inline ? inlineAt(head) : (head.union + index) * blockSize;
  bytes.check(at, length);
  if (inline && (at % blockSize) + length > blockSize) {
    throw corrupt(`the inline data of inode ${head.nid} crosses a block`);
  }
  return at;
}

export function blockLength(head: InodeHead, index: number): number {
  return Math.min(blockSize, head.size - index * blockSize);
}

export function readTime(bytes: ImageBytes, at: number): Time {
  const nanoseconds = bytes.u32(at + inodeRecord.nanoseconds);
  if (nanoseconds > 999_999_999) throw corrupt(`a time has ${nanoseconds} nanoseconds`);
  return { seconds: bytes.i64(at + inodeRecord.seconds), nanoseconds };
}

export function decodeDevice(encoded: number): Device {
  const minor = (encoded & 0xff) | ((encoded >>> 12) & 0xfff00);
  return { major: (encoded >>> 8) & 0xfff, minor };
}

/** A file's data is elsewhere; here it is one hole. */
export function checkChunkIndex(bytes: ImageBytes, head: InodeHead): void {
  bytes.check(inlineAt(head), chunkIndexSize);
}
