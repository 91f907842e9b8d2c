import type { Digest } from '../digest.js';
import { isThinError, ThinError } from '../errors.js';
import { mapBounded } from './bounded.js';
import { isChunk } from './chunk-table.js';
import type { FileOrigin, FileRef, Placement } from './file-origin.js';
import type { FrameFlights } from './frame-flights.js';
import type { FrameKeeper } from './frame-keeper.js';
import type { ChunkCopy } from './index-chunks.js';
import type { ChunkBytes, ChunkedFile, PartialFile } from './partial-file.js';
import type { PartialFiles } from './partial-files.js';
import type { TierFiles } from './tier-files.js';

/** Chunks of one read that are fetched at the same time; a read of the kernel has at most 16. */
const chunksInFlight = 8;
/** A file can be closed or renamed between finding and reading it; more often is no coincidence. */
const attemptsMax = 3;

const emptyBuffer = Buffer.alloc(0);

/** What the reader tells the rest of the cache, and asks of it. */
export interface ReaderEvents {
  /** Copies of chunks in files that are here, in the order of `chunks`. Never fails. */
  findCopies(chunks: readonly Digest[]): Promise<readonly (ChunkCopy | undefined)[]>;
  /** A complete file turned out to be something else; it is to be removed. */
  wrong(content: Digest): Promise<void>;
  /** The disk failed; the read goes on without it. */
  failed(error: unknown): void;
}

/** Answers reads: from the tier, from a partial file, from copies of its chunks, from the origin. */
export class FileReader {
  readonly #tier: TierFiles;
  readonly #partials: PartialFiles;
  readonly #flights: FrameFlights;
  readonly #keeper: FrameKeeper;
  readonly #events: ReaderEvents;

  constructor(
    tier: TierFiles,
    partials: PartialFiles,
    flights: FrameFlights,
    keeper: FrameKeeper,
    events: ReaderEvents,
  ) {
    this.#tier = tier;
    this.#partials = partials;
    this.#flights = flights;
    this.#keeper = keeper;
    this.#events = events;
  }

  /** Bytes `offset` to `offset + length` of a file, fewer where it ends before. */
  async read(
    file: FileRef,
    offset: number,
    length: number,
    origin: FileOrigin,
    signal: AbortSignal,
  ): Promise<Buffer> {
    const end = Math.min(offset + length, file.size);
    if (offset >= end) return emptyBuffer;
    let partial = this.#partials.opened(file, origin);
    if (partial === undefined) {
      const complete = await this.#readComplete(file, offset, end, origin);
      if (complete !== undefined) return complete;
    }
    const chunked = this.#partials.describe(file, origin);
    if (chunked === undefined) throw notHere(file);
    partial ??= await this.#findPartial(chunked);
    const bytes = await partial?.read(offset, end).catch((error: unknown) => this.#miss(error));
    return bytes ?? this.#readMissing(chunked, partial, offset, end, origin, signal);
  }

  /** From the tier; undefined if the file is not there, is wrong, or the disk fails. */
  async #readComplete(
    file: FileRef,
    offset: number,
    end: number,
    origin: FileOrigin,
  ): Promise<Buffer | undefined> {
    for (let attempt = 1; attempt <= attemptsMax; attempt++) {
      try {
        const open = this.#tier.opened(file.content) ?? (await this.#tier.open(file.content));
        if (open === undefined) return undefined;
        if (open.file.size === file.size) {
          const bytes = await open.read(offset, end, () => origin.chunksOf(file.content));
          if (bytes !== 'wrong') return bytes;
        } else if (await open.verify()) throw otherSize(file, open.file.size);
        await this.#events.wrong(file.content);
      } catch (error) {
        if (isThinError(error, 'corrupt')) throw error;
        if (!isThinError(error, 'busy')) return this.#miss(error);
      }
    }
    return undefined;
  }

  /** Undefined where there is none, or the disk fails; a small file is never kept in part. */
  async #findPartial(chunked: ChunkedFile): Promise<PartialFile | undefined> {
    if (chunked.table.chunks.length === 1) return undefined;
    try {
      const partial = await this.#partials.find(chunked);
      if (partial?.ready === true) this.#keeper.promoteFound(chunked, partial);
      return partial;
    } catch (error) {
      return this.#miss(error);
    }
  }

  /** A read that is in parts not here: every chunk from the nearest place that has it. */
  async #readMissing(
    chunked: ChunkedFile,
    partial: PartialFile | undefined,
    offset: number,
    end: number,
    origin: FileOrigin,
    signal: AbortSignal,
  ): Promise<Buffer> {
    const { table } = chunked;
    const first = table.indexAt(offset);
    const last = table.indexAt(end - 1);
    const indexes = Array.from({ length: last - first + 1 }, (_, at) => first + at);
    const missing = indexes.filter((index) => partial?.has(index) !== true);
    const copies = await this.#copyChunks(chunked, missing);
    const pieces = await mapBounded(indexes, chunksInFlight, async (index) => {
      const here = partial?.has(index) === true ? partial.readChunk(index) : undefined;
      const bytes = await here?.catch((error: unknown) => this.#miss(error));
      const known = bytes ?? copies.get(index);
      return known ?? this.#flights.chunk(origin, placementOf(chunked, index), signal);
    });
    const from = offset - table.start(first);
    const [only] = pieces;
    const all = pieces.length === 1 && only !== undefined ? only : Buffer.concat(pieces);
    return all.subarray(from, from + end - offset);
  }

  /** Chunks that other files here have, verified; they are kept in this file too. */
  async #copyChunks(
    chunked: ChunkedFile,
    missing: readonly number[],
  ): Promise<Map<number, Buffer>> {
    const copied = new Map<number, Buffer>();
    const { table } = chunked;
    if (table.chunks.length === 1) return copied; // the whole file: it would have been found
    const digests = missing.map((index) => table.chunk(index).digest);
    const copies = await this.#events.findCopies(digests);
    for (const [at, index] of missing.entries()) {
      const copy = copies[at];
      const bytes = copy && (await this.#readCopy(copy, table.chunk(index).length));
      if (bytes !== undefined && isChunk(table.chunk(index), bytes)) copied.set(index, bytes);
    }
    const chunks: ChunkBytes[] = [...copied].map(([index, bytes]) => ({ index, bytes }));
    if (chunks.length > 0) await this.#keeper.keepChunks(chunked, chunks);
    return copied;
  }

  async #readCopy(copy: ChunkCopy, length: number): Promise<Buffer | undefined> {
    try {
      if (copy.partial !== undefined) {
        return await this.#partials.readUnverified(copy.partial, copy.offset, length);
      }
      const open = await this.#tier.open(copy.content);
      return await open?.readUnverified(copy.offset, length);
    } catch (error) {
      return this.#miss(error);
    }
  }

  #miss(error: unknown): undefined {
    this.#events.failed(error);
    return undefined;
  }
}

function placementOf({ file, table }: ChunkedFile, index: number): Placement {
  return { ...file, offsetInFile: table.start(index), chunk: table.chunk(index) };
}

function otherSize({ content, size }: FileRef, found: number): ThinError {
  return new ThinError(
    'corrupt',
    `Cannot read file ${content}: the image says ${size} bytes, it has ${found}`,
  );
}

function notHere(file: FileRef): ThinError {
  return new ThinError(
    'not-found',
    `Cannot read file ${file.content}: it is not in the cache, and its image has no thin form to fetch it from (pull the image again)`,
  );
}
