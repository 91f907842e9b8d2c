import { constants } from 'node:buffer';
import { ThinError } from '../errors.js';
import { limits } from '../limits.js';
import {
  alignUp,
  blockSize,
  chunkIndexSize,
  dataLayout,
  inlineTailMax,
  inodeRecord,
  slotSize,
  superblock,
} from './erofs-layout.js';
import type { InodePlan } from './inode-plan.js';
import type { InodeTable } from './inode-table.js';
import { type SharedXattrs, xattrAreaBytes } from './shared-xattrs.js';

/** Where the parts of an image lie: the inodes behind the superblock, then these. */
export interface ImagePlan {
  /** Block address of the shared xattrs, 0 if there are none. */
  readonly xattrBlock: number;
  /** Bytes of the image, whole blocks. */
  readonly size: number;
}

/** What is behind an inode's xattrs, and in blocks of its own. */
interface Body {
  readonly layout: number;
  /** Bytes right behind the xattrs. */
  readonly inlineBytes: number;
  readonly blocks: number;
}

const contentBody: Body = { layout: dataLayout.chunked, inlineBytes: chunkIndexSize, blocks: 0 };
const noBody: Body = { layout: dataLayout.flat, inlineBytes: 0, blocks: 0 };

export function bodyOf({ node, directory }: InodePlan): Body {
  if (directory !== undefined) return flatBody(directory.size);
  if (node.type === 'symlink') return flatBody(node.target.length);
  return node.type === 'file' && node.size > 0 ? contentBody : noBody;
}

function flatBody(size: number): Body {
  const tail = size % blockSize;
  return tail === 0 || tail > inlineTailMax
    ? { layout: dataLayout.flat, inlineBytes: 0, blocks: Math.ceil(size / blockSize) }
    : { layout: dataLayout.inlineTail, inlineBytes: tail, blocks: (size - tail) / blockSize };
}

/**
 * Gives every inode its place, in the order of `plans`; the first is the root, and its nid stays
 * far below the 16 bits that the superblock has for it.
 * @throws ThinError `invalid` if the image would be too large, or an inode has too many xattrs
 */
export function placeInodes(plans: InodeTable, shared: SharedXattrs): ImagePlan {
  let end = superblock.at + superblock.size;
  plans.forEach((plan) => {
    plan.xattrBytes = xattrAreaBytes(plan, shared);
    const headBytes = inodeRecord.size + plan.xattrBytes;
    const { inlineBytes } = bodyOf(plan);
    const offset = placeOf(end, headBytes, inlineBytes);
    plan.offset = offset; // kept in 32 bits: beyond them it is another, and the image too large
    end = offset + headBytes + inlineBytes;
  });

  let block = Math.ceil(end / blockSize);
  const xattrBlock = shared.bytes === 0 ? 0 : block;
  block += Math.ceil(shared.bytes / blockSize);
  plans.forEach((plan) => {
    const { blocks } = bodyOf(plan);
    plan.block = blocks === 0 ? 0 : block;
    block += blocks;
  });
  return { xattrBlock, size: checkedSize(block * blockSize) };
}

/** The first slot from `end` on where neither the inode nor its inline tail crosses a block. */
function placeOf(end: number, headBytes: number, inlineBytes: number): number {
  let offset = alignUp(end, slotSize);
  while (crosses(offset, inodeRecord.size) || crosses(offset + headBytes, inlineBytes)) {
    offset += slotSize;
  }
  return offset;
}

function crosses(offset: number, bytes: number): boolean {
  return (offset % blockSize) + bytes > blockSize;
}

function checkedSize(size: number): number {
  const max = Math.min(limits.metadataBytesMax, constants.MAX_LENGTH);
  if (size <= max) return size;
  throw new ThinError(
    'invalid',
    `Cannot write metadata: the image would have ${size} bytes (wanted at most ${max})`,
  );
}
