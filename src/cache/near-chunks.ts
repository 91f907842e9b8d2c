import type { Digest } from '../digest.js';
import { mapBounded } from './bounded.js';
import type { ChunkCopy } from './index-chunks.js';
import type { PartialFiles } from './partial-files.js';
import type { TierFiles } from './tier-files.js';

/** What is asked of the rest of the cache. */
export interface NearEvents {
  /** Copies of chunks in files that are here, in the order of `chunks`. Never fails. */
  findCopies(chunks: readonly Digest[]): Promise<readonly (ChunkCopy | undefined)[]>;
  /** The disk failed; the work goes on without it. */
  failed(error: unknown): void;
}

/** A chunk that may be here. */
export interface WantedChunk {
  readonly digest: Digest;
  readonly length: number;
}

/** Chunks that are looked for first: where none of them is here, the others are not looked for. */
const firstLook = 32;
/** Files that are looked for at a time. */
const looksMax = 16;

/** Chunks in files that are here. */
export class NearChunks {
  readonly #files: TierFiles;
  readonly #partials: PartialFiles;
  readonly #events: NearEvents;

  constructor(files: TierFiles, partials: PartialFiles, events: NearEvents) {
    this.#files = files;
    this.#partials = partials;
    this.#events = events;
  }

  /** Copies of chunks in files of several chunks, in the order of `chunks`. Never fails. */
  findCopies(chunks: readonly Digest[]): Promise<readonly (ChunkCopy | undefined)[]> {
    return this.#events.findCopies(chunks);
  }

  /** Where chunks are, also those that are a file by themselves. Never fails. */
  async find(chunks: readonly WantedChunk[]): Promise<Map<Digest, ChunkCopy>> {
    const found = new Map<Digest, ChunkCopy>();
    await this.#look(chunks.slice(0, firstLook), found);
    if (found.size > 0) await this.#look(chunks.slice(firstLook), found);
    return found;
  }

  async #look(chunks: readonly WantedChunk[], found: Map<Digest, ChunkCopy>): Promise<void> {
    const copies = await this.findCopies(chunks.map(({ digest }) => digest));
    await mapBounded(chunks, looksMax, async ({ digest, length }, at) => {
      const copy = copies[at] ?? (await this.#whole(digest, length));
      if (copy) found.set(digest, copy);
    });
  }

  async #whole(content: Digest, size: number): Promise<ChunkCopy | undefined> {
    const isHere = await this.#files.has(content);
    return isHere ? { content, size, partial: undefined, offset: 0 } : undefined;
  }

  /** Bytes that the caller verifies, fewer where the file ends before; undefined if it is gone. Never fails. */
  async readUnverified(copy: ChunkCopy, length: number): Promise<Buffer | undefined> {
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
