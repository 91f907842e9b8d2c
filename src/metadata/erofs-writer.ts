import type { DirectoryNode, TreeNode } from '../image/tree.js';
import { collectInodes } from './collect-inodes.js';
import { crc32c } from './crc32c.js';
import { writeRecords } from './directory-records.js';
import {
  blockBits,
  blockSize,
  dataLayout,
  extendedInode,
  featureCompat,
  featureIncompat,
  inodeRecord,
  magicNumber,
  metadataVersion,
  noBlock,
  slotSize,
  superblock,
  uuidSize,
  volumeNamePrefix,
  xattrCount,
} from './erofs-layout.js';
import { formatBits } from './erofs-node-type.js';
import { ImagePieces, type WritePiece } from './image-pieces.js';
import { type InodePlan, isWhiteout, storedType } from './inode-plan.js';
import type { InodeTable } from './inode-table.js';
import { bodyOf, type ImagePlan, placeInodes } from './place-inodes.js';
import {
  type SharedXattrs,
  shareXattrs,
  writeSharedXattrs,
  writeXattrArea,
} from './shared-xattrs.js';
import { writeLatin1 } from './write-latin1.js';

/**
 * The metadata image of a tree, as FORMAT.md has it: every inode, no file data. The same tree gives
 * the same bytes, in whatever order its maps were filled.
 * @throws ThinError `invalid`, naming the path, if the tree has what the format cannot say
 */
export function writeErofs(root: DirectoryNode): Buffer {
  const { size, writeTo } = planErofs(root);
  const out = Buffer.alloc(size);
  writeTo((bytes, at) => bytes.copy(out, at));
  return out;
}

/** An image of which it is known where everything goes. */
export interface PlannedErofs {
  readonly size: number;
  /** Tells all of its bytes in order, and then those of its superblock once more: they are known last. */
  writeTo(write: WritePiece): void;
}

/**
 * @see writeErofs
 * @param linked nodes that may have several names, if that is known: it spares memory
 */
export function planErofs(root: DirectoryNode, linked?: ReadonlySet<TreeNode>): PlannedErofs {
  const plans = collectInodes(root, linked);
  const shared = shareXattrs(plans);
  const image = placeInodes(plans, shared);
  return { size: image.size, writeTo: (write) => writeImage(write, plans, shared, image) };
}

function writeImage(
  write: WritePiece,
  plans: InodeTable,
  shared: SharedXattrs,
  image: ImagePlan,
): void {
  const pieces = new ImagePieces(write);
  const out = pieces.window;
  writeSuperblock(out, pieces.place(superblock.at, superblock.size), image, plans);
  let serial = 0;
  plans.forEach((plan) => {
    const bodyAt = inodeRecord.size + plan.xattrBytes;
    const at = pieces.place(plan.offset, bodyAt + bodyOf(plan).inlineBytes);
    serial += 1;
    writeInode(out, at, plan, serial);
    if (plan.xattrBytes > 0) writeXattrArea(out, at + inodeRecord.size, plan, shared);
    writeInline(out, at + bodyAt, plan, plans);
  });
  if (image.xattrBlock > 0) writeSharedXattrs(pieces, image.xattrBlock * blockSize, shared);
  plans.forEach((plan) => {
    writeBlocks(pieces, plan, plans);
  });
  const { head, digest } = pieces.finish(image.size);
  write(signedSuperblock(head, digest), superblock.at);
}

function writeInode(out: Buffer, offset: number, plan: InodePlan, serial: number): void {
  const { node } = plan;
  const field = inodeRecord;
  const format = extendedInode | (bodyOf(plan).layout << 1);
  out.writeUInt16LE(format, offset + field.format);
  out.writeUInt16LE(xattrCount(plan.xattrBytes), offset + field.xattrCount);
  out.writeUInt16LE(formatBits(storedType(node)) | node.mode, offset + field.mode);
  writeUInt64(out, sizeOf(plan), offset + field.fileSize);
  out.writeUInt32LE(unionOf(plan), offset + field.union);
  out.writeUInt32LE(serial, offset + field.serial);
  out.writeUInt32LE(node.uid, offset + field.uid);
  out.writeUInt32LE(node.gid, offset + field.gid);
  writeUInt64(out, node.mtime.seconds, offset + field.seconds);
  out.writeUInt32LE(node.mtime.nanoseconds, offset + field.nanoseconds);
  out.writeUInt32LE(plan.nlink, offset + field.nlink);
}

/** Writes a safe integer as 64 bits, in two's complement. */
function writeUInt64(out: Buffer, value: number, at: number): void {
  out.writeUInt32LE(value >>> 0, at);
  out.writeInt32LE(Math.floor(value / 2 ** 32), at + 4);
}

function sizeOf({ node, directory }: InodePlan): number {
  if (directory !== undefined) return directory.size;
  if (node.type === 'symlink') return node.target.length;
  return node.type === 'file' ? node.size : 0;
}

function unionOf({ node, block }: InodePlan): number {
  if (isWhiteout(node)) return 0;
  if (node.type === 'character' || node.type === 'block') return encodeDevice(node.device);
  return node.type === 'file' && node.size > 0 ? chunkFormat(node.size) : block;
}

/** As Linux keeps device numbers: 8 bits of the minor, 12 of the major, 12 more of the minor. */
function encodeDevice({ major, minor }: { major: number; minor: number }): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}

/** The chunk size that makes the file one chunk, as the bits that it has above a block's. */
function chunkFormat(size: number): number {
  let bits = 0;
  while (2 ** (blockBits + bits) < size) bits++;
  return bits;
}

/** What is right behind an inode's xattrs. */
function writeInline(out: Buffer, at: number, plan: InodePlan, plans: InodeTable): void {
  const { node, directory } = plan;
  const { layout } = bodyOf(plan);
  if (layout === dataLayout.chunked) out.writeUInt32LE(noBlock, at);
  if (layout !== dataLayout.inlineTail) return;
  if (node.type === 'symlink') writeLatin1(out, node.target, at);
  if (directory === undefined) return;
  const { blockEnds } = directory;
  writeRecords(out, at, plans, directory, blockEnds.at(-2) ?? 0, blockEnds.at(-1) ?? 0);
}

/** What has blocks of its own. */
function writeBlocks(pieces: ImagePieces, plan: InodePlan, plans: InodeTable): void {
  const { node, directory, block } = plan;
  const { blocks } = bodyOf(plan);
  for (let index = 0; index < blocks; index++) {
    const at = pieces.place((block + index) * blockSize, blockSize);
    if (node.type === 'symlink') writeLatin1(pieces.window, node.target, at);
    if (directory === undefined) continue;
    const first = index === 0 ? 0 : (directory.blockEnds[index - 1] ?? 0);
    writeRecords(pieces.window, at, plans, directory, first, directory.blockEnds[index] ?? 0);
  }
}

/** Without uuid and checksum, which are of everything else. */
function writeSuperblock(out: Buffer, at: number, image: ImagePlan, plans: InodeTable): void {
  const field = superblock;
  const block = out.subarray(at, at + superblock.size);
  block.writeUInt32LE(magicNumber, field.magic);
  block.writeUInt32LE(featureCompat.checksum | featureCompat.mtime, field.featureCompat);
  block.writeUInt8(blockBits, field.blockBits);
  block.writeUInt16LE(plans.at(0).offset / slotSize, field.rootNid);
  block.writeUInt32LE(plans.length, field.inodeCount);
  block.writeUInt32LE(image.size / blockSize, field.blockCount);
  block.writeUInt32LE(image.xattrBlock, field.xattrBlock);
  block.write(`${volumeNamePrefix}${metadataVersion}`, field.volumeName, 'latin1');
  block.writeUInt32LE(featureIncompat.chunkedFile, field.featureIncompat);
}

/** @param head the image's first block @param digest of the image as it was until now */
function signedSuperblock(head: Buffer, digest: Buffer): Buffer {
  const block = head.subarray(superblock.at, superblock.at + superblock.size);
  uuidOf(digest).copy(block, superblock.uuid);
  block.writeUInt32LE(crc32c(head.subarray(superblock.at, blockSize)), superblock.checksum);
  return block;
}

/**
 * A UUID (version 8) of the content, not zero: of a lower layer that has none, overlayfs does not
 * remember which file a changed one came from.
 */
function uuidOf(digest: Buffer): Buffer {
  const uuid = Buffer.from(digest.subarray(0, uuidSize));
  uuid.writeUInt8((uuid.readUInt8(6) & 0x0f) | 0x80, 6);
  uuid.writeUInt8((uuid.readUInt8(8) & 0x3f) | 0x80, 8);
  return uuid;
}
