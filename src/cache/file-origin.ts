import type { Chunk, Frame } from '../chunk/frame.js';
import type { Digest } from '../digest.js';

/** A file as an image's metadata names it. */
export interface FileRef {
  /** SHA-256 of the whole file. */
  readonly content: Digest;
  /** Bytes. */
  readonly size: number;
}

/** Where one chunk of a frame belongs. */
export interface Placement extends FileRef {
  readonly offsetInFile: number;
  readonly chunk: Chunk;
}

/**
 * Where the bytes of an image's files come from, as the cache needs it: the image's chunk map and
 * the source of its frames. Nothing it says is trusted beyond the image that it belongs to.
 */
export interface FileOrigin {
  /** Two origins of the same id have the same chunk lists (the digest of the chunk map does). */
  readonly id: string;
  /** The file's chunks in order, or undefined where it has no thin form. */
  chunksOf(content: Digest): readonly Chunk[] | undefined;
  /** All that a frame's chunks are good for in this image. */
  placementsIn(frame: Frame): readonly Placement[];
  /**
   * The decoded frame, `plainLength` bytes, not verified.
   * @param options looked at again while the fetch waits. `fresh`: what came before was wrong; past
   *   HTTP caches, from elsewhere if it can be. `background`: nobody waits for it
   */
  fetchFrame(
    frame: Frame,
    signal: AbortSignal,
    options?: { readonly fresh: boolean; readonly background?: boolean },
  ): Promise<Buffer>;
  /** Why fetches wait now; undefined if none does. */
  trouble?(): Error | undefined;
}
