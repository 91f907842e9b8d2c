import type { Chunk, Frame } from '../chunk/frame.js';
import type { Digest } from '../digest.js';
import type { FileColumns } from '../file-columns.js';
import type { MeasuredLink } from './frame-plan.js';

/** A file as an image's metadata names it. */
export interface FileRef {
  /** SHA-256 of the whole file. */
  readonly content: Digest;
  /** Bytes. */
  readonly size: number;
}

/** The files of an image, each once. */
export interface ListedFiles extends Iterable<FileRef> {
  /** The same of them, where they are known so. */
  columns?(): FileColumns;
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
  /**
   * Frames of one pack by one request, each told when it has come; not repeated when it fails.
   * Absent where frames can only be had one by one.
   * @param frames ascending
   */
  fetchRun?(
    frames: readonly Frame[],
    signal: AbortSignal,
    options: {
      readonly background: boolean;
      readonly onFrame: (frame: Frame, plain: Promise<Buffer>) => void;
    },
  ): Promise<void>;
  /**
   * Frames before and behind one in its pack, so many at most, ascending and without itself. Absent
   * where nothing is to be read ahead.
   */
  framesAround?(frame: Frame, before: number, behind: number): readonly Frame[];
  /** True where no program waits for what is read. */
  readonly background?: boolean;
  /** How the source of the frames answers, as far as it was measured. */
  link?(): MeasuredLink;
  /** The same chunk in a frame that is to be fetched rather than its own; undefined if there is none. */
  nearer?(chunk: Chunk): Chunk | undefined;
  /** That frame is not to be had, or not what it should be: its chunks have nothing nearer any more. */
  forsake?(frame: Frame): void;
  /**
   * True while somebody learns what is read: what comes beside it stays in memory, so that its first
   * read is seen too.
   */
  isLearning?(): boolean;
  /**
   * Waits for a file of an image that comes whole, and is not all here yet.
   * @returns false where nothing is on its way. @throws why it will not come
   */
  arrives?(file: FileRef, signal: AbortSignal): Promise<boolean>;
  /** All of a file is put on the disk because something of it, or beside it, is read: nobody will see its reads. */
  beside?(file: FileRef): void;
  /** Why fetches wait now; undefined if none does. */
  trouble?(): Error | undefined;
}
