import { createHash } from 'node:crypto';
import type { Digest } from '../digest.js';
import { type ChunkTable, isChunk } from './chunk-table.js';
import type { Descriptor } from './descriptor.js';

/** Bytes read and hashed at a time (0.5 ms of the event loop) where a whole file is verified. */
const hashStepBytes = 1024 * 1024;

/** Which chunks were verified; what is read elsewhere at the same time may add to it. */
export interface VerifiedChunks {
  hasAll(first: number, last: number): boolean;
  has(index: number): boolean;
  set(index: number): void;
}

/**
 * Bytes `offset` to `end` of an open file whose chunks are those of `table`. What is not in
 * `verified` yet is read with the whole of its chunks, verified, and added there.
 * @returns undefined if a chunk is not what it should be, after `wrong` was told each such chunk
 */
export async function readVerified(
  file: Descriptor,
  table: ChunkTable,
  verified: VerifiedChunks,
  offset: number,
  end: number,
  wrong: (index: number) => void,
): Promise<Buffer | undefined> {
  const first = table.indexAt(offset);
  const last = table.indexAt(end - 1);
  const known = verified.hasAll(first, last);
  const from = known ? offset : table.start(first);
  const to = known ? end : table.start(last + 1);
  const bytes = Buffer.allocUnsafe(to - from);
  const count = await file.read(bytes, from);
  if (!known && !verifyChunks(table, verified, first, last, bytes.subarray(0, count), wrong)) {
    return undefined;
  }
  if (count < bytes.length) {
    for (let index = first; index <= last; index++) wrong(index);
    return undefined;
  }
  return known ? bytes : bytes.subarray(offset - from, end - from);
}

/** Verifies chunks `first` to `last` out of `bytes`, which begin where chunk `first` begins. */
function verifyChunks(
  table: ChunkTable,
  verified: VerifiedChunks,
  first: number,
  last: number,
  bytes: Buffer,
  wrong: (index: number) => void,
): boolean {
  let good = true;
  const base = table.start(first);
  for (let index = first; index <= last; index++) {
    if (verified.has(index)) continue;
    const piece = bytes.subarray(table.start(index) - base, table.start(index + 1) - base);
    if (isChunk(table.chunk(index), piece)) {
      verified.set(index);
    } else {
      wrong(index);
      good = false;
    }
  }
  return good;
}

/** SHA-256 of the first `size` bytes; undefined if the file is shorter. */
export async function hashFile(file: Descriptor, size: number): Promise<Digest | undefined> {
  const hash = createHash('sha256');
  const step = Buffer.allocUnsafe(Math.min(hashStepBytes, Math.max(size, 1)));
  for (let at = 0; at < size; at += step.length) {
    const piece = step.subarray(0, Math.min(step.length, size - at));
    if ((await file.read(piece, at)) < piece.length) return undefined;
    hash.update(piece);
  }
  return `sha256:${hash.digest('hex')}` as Digest;
}
