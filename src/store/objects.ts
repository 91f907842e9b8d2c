import type { FetchOptions } from './store.js';

/** A part of an object that is known to have `size` bytes in all. */
export interface ObjectRange {
  readonly offset: number;
  readonly length: number;
  readonly size: number;
}

/**
 * What a directory, a web server and a bucket have in common: files under relative paths. The layout
 * of thin images is built on it once (layout-store.ts).
 */
export interface ObjectReader {
  /** @throws ThinError `not-found`, `denied`, `unavailable`; `corrupt` if it has another size */
  openRange(
    path: string,
    range: ObjectRange,
    signal: AbortSignal,
    options?: FetchOptions,
  ): AsyncIterable<Buffer>;

  /** A whole object of at most `bytesMax` bytes; undefined if there is none. */
  readSmall(path: string, bytesMax: number, signal: AbortSignal): Promise<Buffer | undefined>;

  toString(): string;
}

export interface ObjectWriter extends ObjectReader {
  /** Whether an object of exactly this size is there. */
  has(path: string, size: number, signal: AbortSignal): Promise<boolean>;

  /**
   * Makes an object appear, whole and durable, in place of the one before it. If `source` throws
   * before its end, nothing appears.
   */
  put(
    path: string,
    size: number,
    source: AsyncIterable<Buffer>,
    signal: AbortSignal,
  ): Promise<void>;

  /**
   * The same with a file of this machine, which is moved; only a directory can.
   * @returns false if it lies on another file system
   */
  adopt?(path: string, size: number, file: string, signal: AbortSignal): Promise<boolean>;
}
