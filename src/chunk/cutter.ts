import { createHash } from 'node:crypto';
import type { CutterParameters } from '../../native-bindings/cut-and-hash.js';

/**
 * Where chunks end: FastCDC with normalised chunking (Xia et al., "FastCDC: a Fast and Efficient
 * Content-Defined Chunking Approach for Data Deduplication", USENIX ATC 2016, section 4).
 *
 * A rolling hash over the chunk's bytes from `minimum` on, `hash = (hash << 1) + gear[byte]` in 32
 * bits, ends the chunk after the byte at which the bits of a mask are all zero: two bits more than
 * the average asks for below `normal` bytes, two fewer above, and in any case at `maximum`. The
 * masks are the hash's top bits, which depend on the last 32 bytes. The hash starts at 0 with each
 * chunk, so that a boundary depends on nothing before the last one.
 *
 * FORMAT.md fixes the parameters: other values cut the same content elsewhere, which readers do not
 * notice but which shares nothing with what was converted before.
 */
export const cutterParameters: CutterParameters = {
  gear: gearTable(),
  minimum: 16 * 1024,
  normal: 64 * 1024,
  maximum: 256 * 1024,
  maskBelow: topBits(16 + 2),
  maskAbove: topBits(16 - 2),
};

/** Bytes up to which a file is one chunk, uncut. */
export const uncutBytesMax = 64 * 1024;

/** Word `i`: the first four bytes, big-endian, of the SHA-256 of the text `thinfs gear <i>`. */
function gearTable(): Uint32Array {
  return Uint32Array.from({ length: 256 }, (_, index) =>
    createHash('sha256').update(`thinfs gear ${index}`).digest().readUInt32BE(0),
  );
}

function topBits(count: number): number {
  return (0xffffffff << (32 - count)) >>> 0;
}

/**
 * Lengths of the chunks of a whole file, in order; they sum to its size. This is the definition that
 * the addon's loop is tested against: that one is what conversion uses.
 */
export function cutLengths(bytes: Buffer): number[] {
  if (bytes.length === 0) return [];
  if (bytes.length <= uncutBytesMax) return [bytes.length];
  const lengths: number[] = [];
  for (let start = 0; start < bytes.length; ) {
    const length = firstChunkLength(bytes, start);
    lengths.push(length);
    start += length;
  }
  return lengths;
}

function firstChunkLength(bytes: Buffer, start: number): number {
  const { gear, minimum, normal, maximum, maskBelow, maskAbove } = cutterParameters;
  const end = Math.min(bytes.length, start + maximum);
  let hash = 0;
  for (let at = start + minimum; at < end; at++) {
    hash = ((hash << 1) + (gear[bytes[at] ?? 0] ?? 0)) | 0;
    const mask = at < start + normal ? maskBelow : maskAbove;
    if ((hash & mask) === 0) return at + 1 - start;
  }
  return end - start;
}
