import type { Digest } from '../digest.js';

/**
 * A partial file as another thread of this process may read it: by the path, or by a descriptor
 * kept open, which stays good when the file is promoted or evicted. Only bytes of chunks whose bit
 * is set may be used; a bit that is set stays set.
 */
export interface PartialView {
  readonly content: Digest;
  /** Bytes of the whole file. */
  readonly size: number;
  readonly path: string;
  /** Offset of each chunk in the file, and the file's size last; on a SharedArrayBuffer. */
  readonly starts: Float64Array;
  /** One bit a chunk, bit `i % 32` of word `i / 32`: on the disk and verified; read by Atomics.load. */
  readonly verified: Int32Array;
}
