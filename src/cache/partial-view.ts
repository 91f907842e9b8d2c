import type { Digest } from '../digest.js';

/**
 * A partial file as another thread of this process may read it: by the path while `named`, or by a
 * descriptor kept open, which stays good when the file is promoted or evicted. Only bytes of chunks
 * whose bit is set may be used; a bit that is set stays set.
 */
export interface PartialView {
  readonly content: Digest;
  /** Bytes of the whole file. */
  readonly size: number;
  readonly path: string;
  /**
   * One number, 1 while `path` is the name of this very file; set to 0 (Atomics.store) before it is
   * renamed or removed. A reader that opened the path and then still finds 1 has the right file: the
   * bits say nothing about one that is made under the same name later.
   */
  readonly named: Int32Array;
  /** Offset of each chunk in the file, and the file's size last; on a SharedArrayBuffer. */
  readonly starts: Float64Array;
  /** One bit a chunk, bit `i % 32` of word `i / 32`: on the disk and verified; read by Atomics.load. */
  readonly verified: Int32Array;
}

export interface PartialViewEvents {
  /**
   * Told of a view that somebody asked for, when `verified` grows no more: the file was promoted,
   * evicted or closed. A descriptor of it must be closed soon: a removed file that somebody has open
   * takes space all the same.
   */
  readonly onPartialEnd?: ((view: PartialView) => void) | undefined;
}
