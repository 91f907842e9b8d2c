import { type Digest, digestFromBytes, digestHex, digestSize } from '../digest.js';
import type { FileColumns } from '../file-columns.js';
import type { FileRef } from './file-origin.js';

/** A file of a long list. */
export interface PackedFile extends FileRef {
  /** Bytes of disk that were taken for it; undefined if it was here, or where that does not matter. */
  readonly allocated: number | undefined;
}

const itemSize = digestSize + 16; // SHA-256, size f64, allocated f64 or -1

/** Files as bytes: a thread that is told of 60 000 files has little time for each. */
export function packFiles(files: Iterable<FileRef & Partial<PackedFile>>, count: number): Buffer {
  const bytes = Buffer.allocUnsafeSlow(count * itemSize);
  let at = 0;
  for (const file of files) at = writeItem(bytes, at, file);
  return bytes;
}

/** The same as lists of `count`, and a last one of fewer or none; each is valid until the next is asked for. */
export function* packInBatches(files: Iterable<FileRef>, count: number): Generator<Buffer, void> {
  const bytes = Buffer.allocUnsafeSlow(count * itemSize);
  let at = 0;
  for (const file of files) {
    at = writeItem(bytes, at, file);
    if (at < bytes.length) continue;
    yield bytes;
    at = 0;
  }
  yield Buffer.from(bytes.subarray(0, at));
}

/** The same of files that are not empty, from columns, without their names as text. */
export function* packColumns(columns: FileColumns, count: number): Generator<Buffer, void> {
  const { digests, sizes } = columns;
  const bytes = Buffer.allocUnsafeSlow(count * itemSize);
  let at = 0;
  for (let file = 0; file < sizes.length; file++) {
    const size = sizes[file] ?? 0;
    if (size === 0) continue;
    digests.copy(bytes, at, file * digestSize, (file + 1) * digestSize);
    bytes.writeDoubleLE(size, at + digestSize);
    at = bytes.writeDoubleLE(-1, at + digestSize + 8);
    if (at < bytes.length) continue;
    yield bytes;
    at = 0;
  }
  yield Buffer.from(bytes.subarray(0, at));
}

/** @returns where the next one goes */
function writeItem(bytes: Buffer, at: number, file: FileRef & Partial<PackedFile>): number {
  bytes.write(digestHex(file.content), at, 'hex');
  bytes.writeDoubleLE(file.size, at + digestSize);
  return bytes.writeDoubleLE(file.allocated ?? -1, at + digestSize + 8);
}

export function packedCount(bytes: Buffer): number {
  return bytes.length / itemSize;
}

/** Files of a list: 24 bits of a digest and the index fit into a double, and no buffer has so many. */
const filesMax = 2 ** 29;

/**
 * Those that took disk, of all lists, as one, by the first 24 bits of their digests: a transaction of the
 * index touches neighbours then, and each of its pages once.
 */
export function newFiles(lists: readonly Buffer[]): Buffer {
  const all = Buffer.concat(lists);
  const keys = new Float64Array(packedCount(all));
  let count = 0;
  for (let at = 0; at < all.length; at += itemSize) {
    if (allocatedAt(all, at) === undefined) continue;
    keys[count] = sortedBits(all, at) * filesMax + at / itemSize;
    count += 1;
  }
  const sorted = Buffer.allocUnsafeSlow(count * itemSize);
  let end = 0;
  for (const key of keys.subarray(0, count).sort()) {
    const at = (key % filesMax) * itemSize;
    end += all.copy(sorted, end, at, at + itemSize);
  }
  return sorted;
}

function sortedBits(files: Buffer, at: number): number {
  return files.readUIntBE(at, 3);
}

/** Pieces of at most `count` files. */
export function* packedPieces(bytes: Buffer, count: number): Generator<Buffer, void> {
  const length = count * itemSize;
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length);
}

export function* unpackFiles(bytes: Buffer): Generator<PackedFile, void> {
  for (let at = 0; at < bytes.length; at += itemSize) {
    const content: Digest = digestFromBytes(bytes, at);
    yield { content, size: sizeAt(bytes, at), allocated: allocatedAt(bytes, at) };
  }
}

/** A file whose digest stays bytes. */
export interface RawFile {
  readonly digest: Buffer;
  readonly size: number;
  readonly allocated: number | undefined;
}

export function* unpackRawFiles(bytes: Buffer): Generator<RawFile, void> {
  for (let at = 0; at < bytes.length; at += itemSize) {
    const digest = bytes.subarray(at, at + digestSize);
    yield { digest, size: sizeAt(bytes, at), allocated: allocatedAt(bytes, at) };
  }
}

function sizeAt(bytes: Buffer, at: number): number {
  return bytes.readDoubleLE(at + digestSize);
}

function allocatedAt(bytes: Buffer, at: number): number | undefined {
  const allocated = bytes.readDoubleLE(at + digestSize + 8);
  return allocated < 0 ? undefined : allocated;
}
