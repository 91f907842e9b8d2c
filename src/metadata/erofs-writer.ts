import { createHash } from 'node:crypto';
import type { DirectoryNode } from '../image/tree.js';
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
import { type InodePlan, isWhiteout, storedType } from './inode-plan.js';
import { bodyOf, type ImagePlan, placeInodes } from './place-inodes.js';
import {
  type SharedXattrs,
  shareXattrs,
  writeSharedXattrs,
  writeXattrArea,
} from './shared-xattrs.js';
import { writeLatin1 } from './write-latin1.js';

/** Bytes of one call of node:crypto, which takes fewer than 2 GiB. */
const hashedBytesMax = 2 ** 30;

/**
 * The metadata image of a tree, as FORMAT.md has it: every inode, no file data. The same tree gives
 * the same bytes, in whatever order its maps were filled.
 * @throws ThinError `invalid`, naming the path, if the tree has what the format cannot say
 */
export function writeErofs(root: DirectoryNode): Buffer {
  const plans = collectInodes(root);
  const shared = shareXattrs(plans);
  const image = placeInodes(plans, shared);
  const out = Buffer.alloc(image.size);
  plans.forEach((plan, index) => {
    writeInode(out, plan, index + 1);
    if (plan.xattrBytes > 0) writeXattrArea(out, plan.offset + inodeRecord.size, plan, shared);
    writeBody(out, plan);
  });
  writeShared(out, image, shared);
  writeSuperblock(out, image, plans);
  return out;
}

function writeInode(out: Buffer, plan: InodePlan, serial: number): void {
  const { node, offset } = plan;
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

function writeBody(out: Buffer, plan: InodePlan): void {
  const { node, directory } = plan;
  const { layout } = bodyOf(plan);
  const inlineAt = plan.offset + inodeRecord.size + plan.xattrBytes;
  if (layout === dataLayout.chunked) out.writeUInt32LE(noBlock, inlineAt);
  if (node.type === 'symlink') {
    const at = layout === dataLayout.inlineTail ? inlineAt : plan.block * blockSize;
    writeLatin1(out, node.target, at);
  }
  if (directory === undefined) return;
  let first = 0;
  directory.blockEnds.forEach((end, index) => {
    const inline = layout === dataLayout.inlineTail && index === directory.blockEnds.length - 1;
    const at = inline ? inlineAt : (plan.block + index) * blockSize;
    writeRecords(out, at, directory, first, end);
    first = end;
  });
}

function writeShared(out: Buffer, image: ImagePlan, shared: SharedXattrs): void {
  if (image.xattrBlock > 0) writeSharedXattrs(out, image.xattrBlock * blockSize, shared);
}

/** The last thing written: the uuid and the checksum are of everything else. */
function writeSuperblock(out: Buffer, image: ImagePlan, plans: readonly InodePlan[]): void {
  const field = superblock;
  const block = out.subarray(superblock.at, superblock.at + superblock.size);
  block.writeUInt32LE(magicNumber, field.magic);
  block.writeUInt32LE(featureCompat.checksum | featureCompat.mtime, field.featureCompat);
  block.writeUInt8(blockBits, field.blockBits);
  block.writeUInt16LE((plans[0]?.offset ?? 0) / slotSize, field.rootNid);
  block.writeUInt32LE(plans.length, field.inodeCount);
  block.writeUInt32LE(out.length / blockSize, field.blockCount);
  block.writeUInt32LE(image.xattrBlock, field.xattrBlock);
  block.write(`${volumeNamePrefix}${metadataVersion}`, field.volumeName, 'latin1');
  block.writeUInt32LE(featureIncompat.chunkedFile, field.featureIncompat);
  uuidOf(out).copy(block, field.uuid);
  block.writeUInt32LE(crc32c(out.subarray(superblock.at, blockSize)), field.checksum);
}

/**
 * A UUID (version 8) of the content, not zero: of a lower layer that has none, overlayfs does not
 * remember which file a changed one came from.
 */
function uuidOf(image: Buffer): Buffer {
  const hash = createHash('sha256');
  for (let at = 0; at < image.length; at += hashedBytesMax) {
    hash.update(image.subarray(at, at + hashedBytesMax));
  }
  const uuid = hash.digest().subarray(0, uuidSize);
  uuid.writeUInt8((uuid.readUInt8(6) & 0x0f) | 0x80, 6);
  uuid.writeUInt8((uuid.readUInt8(8) & 0x3f) | 0x80, 8);
  return uuid;
}
