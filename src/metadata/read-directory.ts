import type { ByteString } from '../byte-string.js';
import type { NodeType } from '../image/tree.js';
import { limits } from '../limits.js';
import { blockSize, directoryRecord } from './erofs-layout.js';
import { nodeTypeOfRecord } from './erofs-node-type.js';
import { corrupt, type ImageBytes } from './image-bytes.js';
import { blockAt, blockLength, type InodeHead } from './read-inode.js';

export interface DirectoryEntry {
  readonly name: ByteString;
  readonly nid: number;
  readonly type: NodeType;
}

/** One block of a directory: `count` records at `at`, then their names up to `at` + `length`. */
interface RecordBlock {
  readonly at: number;
  readonly length: number;
  readonly count: number;
}

function openBlock(bytes: ImageBytes, head: InodeHead, index: number): RecordBlock {
  const length = blockLength(head, index);
  const at = blockAt(bytes, head, index);
  const namesAt = length < directoryRecord.size ? 0 : bytes.u16(at + directoryRecord.nameOffset);
  const count = namesAt / directoryRecord.size;
  if (namesAt <= length && Number.isInteger(count) && count > 0) return { at, length, count };
  throw corrupt(`block ${index} of directory ${head.nid} has its names at ${namesAt}`);
}

function nameStart(bytes: ImageBytes, block: RecordBlock, index: number): number {
  return bytes.u16(block.at + index * directoryRecord.size + directoryRecord.nameOffset);
}

/** Where a name ends: at the next one, or for the last at a NUL or the end of the block. */
function nameEnd(bytes: ImageBytes, block: RecordBlock, index: number, start: number): number {
  const last = index + 1 === block.count;
  if (start < block.count * directoryRecord.size || start >= block.length) throw badName(block);
  const end = last
    ? start + bytes.lengthToNul(block.at + start, block.length - start)
    : nameStart(bytes, block, index + 1);
  if (end <= start || end > block.length || end - start > limits.nameBytesMax) throw badName(block);
  return end;
}

function badName(block: RecordBlock): Error {
  return corrupt(`the directory block at ${block.at} has a name of no possible length`);
}

/** As {@link ImageBytes.compare} does: the name of a record against `name`. */
function compareName(
  bytes: ImageBytes,
  block: RecordBlock,
  index: number,
  name: ByteString,
): number {
  const start = nameStart(bytes, block, index);
  return bytes.compare(block.at + start, nameEnd(bytes, block, index, start) - start, name);
}

/** The nid that `name` has in a directory, by binary search for the block and in the block. */
export function searchDirectory(
  bytes: ImageBytes,
  head: InodeHead,
  name: ByteString,
): number | undefined {
  let low = 0;
  let high = Math.ceil(head.size / blockSize) - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (compareName(bytes, openBlock(bytes, head, middle), 0, name) <= 0) low = middle;
    else high = middle - 1;
  }
  return high < 0 ? undefined : searchBlock(bytes, openBlock(bytes, head, low), name);
}

function searchBlock(bytes: ImageBytes, block: RecordBlock, name: ByteString): number | undefined {
  let low = 0;
  let high = block.count - 1;
  while (low <= high) {
    const middle = (low + high) >>> 1;
    const order = compareName(bytes, block, middle, name);
    if (order === 0) return bytes.u64(block.at + middle * directoryRecord.size);
    if (order < 0) low = middle + 1;
    else high = middle - 1;
  }
  return undefined;
}

/**
 * All entries but `.` and `..`, in byte order.
 * @throws ThinError `corrupt` if they are in another order, or one twice: a search would miss them
 */
export function listDirectory(bytes: ImageBytes, head: InodeHead): DirectoryEntry[] {
  const entries: DirectoryEntry[] = [];
  let previous = '';
  for (let index = 0; index * blockSize < head.size; index++) {
    const block = openBlock(bytes, head, index);
    for (let record = 0; record < block.count; record++) {
      const entry = readRecord(bytes, block, record);
      if (entry.name <= previous) throw corrupt(`directory ${head.nid} is out of order`);
      previous = entry.name;
      if (entry.name !== '.' && entry.name !== '..') entries.push(entry);
    }
  }
  return entries;
}

function readRecord(bytes: ImageBytes, block: RecordBlock, index: number): DirectoryEntry {
  const start = nameStart(bytes, block, index);
  const end = nameEnd(bytes, block, index, start);
  const name = bytes.latin1(block.at + start, end - start) as ByteString;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: NUL is what is looked for
  if (/[\x00/]/.test(name)) throw badName(block);
  const at = block.at + index * directoryRecord.size;
  const type = nodeTypeOfRecord(bytes.u8(at + directoryRecord.type));
  if (type === undefined) throw corrupt(`the record at ${at} has an unknown type`);
  return { name, nid: bytes.u64(at + directoryRecord.nid), type };
}
