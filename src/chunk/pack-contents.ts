import type { Digest } from '../digest.js';
import { ContentTable } from './content-table.js';
import type { Chunk, FileChunks, Frame } from './frame.js';
import type { Place } from './frame-filler.js';

export interface PackStats {
  /** Files that were given, empty ones too, and their plain bytes. */
  readonly files: number;
  readonly plainBytes: number;
  /** Chunks of all these files. */
  readonly chunks: number;
  /** Those that are in the new pack, and their plain bytes. */
  readonly newChunks: number;
  readonly newPlainBytes: number;
}

/** Which chunks and files a pack was made from, each once. */
export class PackContents {
  readonly #table = new ContentTable();
  /** Rows in the table of the frames of the new pack, by the tickets of their places. */
  readonly #frameRows: number[] = [];
  readonly #stats = { files: 0, plainBytes: 0, chunks: 0, newChunks: 0, newPlainBytes: 0 };

  get stats(): PackStats {
    return { ...this.#stats };
  }

  /** The number of a chunk that is in the new pack or was taken from elsewhere. */
  find(digest: Digest): number | undefined {
    this.#stats.chunks++;
    const row = this.#table.findChunk(digest);
    return row < 0 ? undefined : row;
  }

  /** A chunk of the new pack. @returns its number */
  add(digest: Digest, length: number, { ticket, offsetInFrame }: Place): number {
    this.#stats.newChunks++;
    this.#stats.newPlainBytes += length;
    while (this.#frameRows.length <= ticket) this.#frameRows.push(this.#table.reserveFrame());
    return this.#table.addChunk(digest, length, this.#frameRows[ticket] ?? 0, offsetInFrame);
  }

  /** A chunk of another pack. @returns its number */
  addKnown(chunk: Chunk): number {
    return this.#table.takeChunk(chunk);
  }

  addFile(content: Digest, size: number, chunks: readonly number[]): void {
    this.#stats.files++;
    this.#stats.plainBytes += size;
    if (size > 0) this.#table.addFile(content, chunks);
  }

  /**
   * The files, once their pack is written.
   * @param frames all frames of the new pack, in order
   * @param tickets of these frames
   */
  resolve(frames: readonly Frame[], tickets: readonly number[]): Iterable<FileChunks> {
    for (const [at, frame] of frames.entries()) {
      const row = this.#frameRows[tickets[at] ?? -1];
      if (row !== undefined) this.#table.placeFrame(row, frame);
    }
    return this.#table;
  }
}
