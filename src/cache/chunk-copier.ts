import type { Digest } from '../digest.js';
import { isChunk } from './chunk-table.js';
import type { FrameKeeper } from './frame-keeper.js';
import type { ChunkCopy } from './index-chunks.js';
import type { ChunkBytes, ChunkedFile } from './partial-file.js';
import type { PartialFiles } from './partial-files.js';
import type { TierFiles } from './tier-files.js';

/** What the copier asks of the rest of the cache. */
export interface CopierEvents {
  /** Copies of chunks in files that are here, in the order of `chunks`. Never fails. */
  findCopies(chunks: readonly Digest[]): Promise<readonly (ChunkCopy | undefined)[]>;
  /** The disk failed; the work goes on without it. */
  failed(error: unknown): void;
}

/** Fills files with chunks that other files here have: what an updated image shares with the old one. */
export class ChunkCopier {
  readonly #files: TierFiles;
  readonly #partials: PartialFiles;
  readonly #keeper: FrameKeeper;
  readonly #events: CopierEvents;

  constructor(files: TierFiles, partials: PartialFiles, keeper: FrameKeeper, events: CopierEvents) {
    this.#files = files;
    this.#partials = partials;
    this.#keeper = keeper;
    this.#events = events;
  }

  /**
   * The bytes, verified, of those of the chunks that are here elsewhere; they are kept in this file
   * too. Never fails.
   * @param missing indexes of chunks; all their bytes are in memory at the same time
   */
  async copy(chunked: ChunkedFile, missing: readonly number[]): Promise<Map<number, Buffer>> {
    const copied = new Map<number, Buffer>();
    const { table } = chunked;
    // A file of one chunk would have been found by its name.
    if (table.chunks.length === 1 || missing.length === 0) return copied;
    const copies = await this.#events.findCopies(missing.map((at) => table.chunk(at).digest));
    for (const [at, index] of missing.entries()) {
      const copy = copies[at];
      const bytes = copy && (await this.#read(copy, table.chunk(index).length));
      if (bytes !== undefined && isChunk(table.chunk(index), bytes)) copied.set(index, bytes);
    }
    const chunks: ChunkBytes[] = [...copied].map(([index, bytes]) => ({ index, bytes }));
    if (chunks.length > 0) await this.#keeper.keepChunks(chunked, chunks);
    return copied;
  }

  async #read(copy: ChunkCopy, length: number): Promise<Buffer | undefined> {
    try {
      if (copy.partial !== undefined) {
        return await this.#partials.readUnverified(copy.partial, copy.offset, length);
      }
      const open = await this.#files.open(copy.content);
      return await open?.readUnverified(copy.offset, length);
    } catch (error) {
      this.#events.failed(error);
      return undefined;
    }
  }
}
