import { setTimeout as wait } from 'node:timers/promises';
import type { Digest } from '../digest.js';
import { fromSystemError, isThinError, ThinError } from '../errors.js';
import { mapBounded } from './bounded.js';
import type { CacheParts } from './cache-parts.js';
import type { FileOrigin, FileRef, Placement } from './file-origin.js';
import type { ChunkedFile, PartialFile } from './partial-file.js';

/** Chunks of one read that are fetched at the same time; a read of the kernel has at most 16. */
const chunksInFlight = 8;
/** A file can be closed or renamed between finding and reading it; more often is no coincidence. */
const attemptsMax = 3;

/** Milliseconds between two looks whether a disk is back that has the only copy. */
const diskLookMs = 250;

const emptyBuffer = Buffer.alloc(0);

/** What the reader tells the rest of the cache. */
export interface ReaderEvents {
  /** A complete file turned out to be something else; it is to be removed. */
  wrong(content: Digest): Promise<void>;
  /** The disk failed; the read goes on without it. */
  failed(error: unknown): void;
}

type ReaderParts = Pick<
  CacheParts,
  'files' | 'partials' | 'flights' | 'keeper' | 'copier' | 'copies' | 'ahead'
>;

/** Answers reads: from the tier, from a partial file, from copies of its chunks, from the origin. */
export class FileReader {
  readonly #parts: ReaderParts;
  readonly #events: ReaderEvents;

  constructor(parts: ReaderParts, events: ReaderEvents) {
    this.#parts = parts;
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
    const { partials, copies } = this.#parts;
    await copies.coming(file.content);
    let partial = partials.opened(file, origin);
    if (partial === undefined) {
      const complete = await this.#readComplete(file, offset, end, origin);
      if (complete !== undefined) return complete;
    }
    const chunked = partials.describe(file, origin);
    if (chunked === undefined) return this.#readArriving(file, offset, end, origin, signal);
    partial ??= await this.#findPartial(chunked);
    const bytes = await partial?.read(offset, end).catch((error: unknown) => this.#miss(error));
    if (bytes) return bytes;
    const copied = await copies.read(chunked, offset, end - offset, origin);
    return copied ?? this.#readMissing(chunked, partial, offset, end, origin, signal);
  }

  /** What only comes as a whole, and can be had nowhere else: a disk that is left alone is waited for. */
  async #readArriving(
    file: FileRef,
    offset: number,
    end: number,
    origin: FileOrigin,
    signal: AbortSignal,
  ): Promise<Buffer> {
    await origin.arrives?.(file, signal);
    for (;;) {
      let failure: unknown;
      const bytes = await this.#readComplete(file, offset, end, origin, (error) => {
        failure = error;
      });
      if (bytes !== undefined) return bytes;
      if (failure === undefined) throw notHere(file);
      if (!isThinError(failure, 'unavailable')) throw unreadable(file, failure);
      await wait(diskLookMs, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) throw unreadable(file, failure);
    }
  }

  /** From the tier; undefined if the file is not there, is wrong, or the disk fails. */
  async #readComplete(
    file: FileRef,
    offset: number,
    end: number,
    origin: FileOrigin,
    onFailure: (error: unknown) => void = (error) => this.#miss(error),
  ): Promise<Buffer | undefined> {
    for (let attempt = 1; attempt <= attemptsMax; attempt++) {
      try {
        const open =
          this.#parts.files.opened(file.content) ?? (await this.#parts.files.open(file.content));
        if (open === undefined) return undefined;
        if (open.file.size === file.size) {
          const bytes = await open.read(offset, end, () => origin.chunksOf(file.content));
          if (bytes !== 'wrong') return bytes;
        } else if (await open.verify()) throw otherSize(file, open.file.size);
        await this.#events.wrong(file.content);
      } catch (error) {
        if (isThinError(error, 'corrupt')) throw error;
        if (isThinError(error, 'busy')) continue;
        onFailure(error);
        return undefined;
      }
    }
    return undefined;
  }

  /** Undefined where there is none, or the disk fails; a small file is never kept in part. */
  async #findPartial(chunked: ChunkedFile): Promise<PartialFile | undefined> {
    if (chunked.table.chunks.length === 1) return undefined;
    try {
      const partial = await this.#parts.partials.find(chunked);
      if (partial?.ready === true) this.#parts.keeper.promoteFound(chunked, partial);
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
    // First, as what is copied may make the file complete: this one is closed then.
    const here = partial && (await this.#readHere(partial, indexes));
    const missing = indexes.filter((index) => here?.has(index) !== true);
    const copies = await this.#parts.copier.copy(chunked, missing, 'behind');
    if (missing.length > copies.size) {
      const missed = { table, partial, first, last };
      setImmediate(() => this.#parts.ahead.missed(origin, missed)); // behind what is asked for here
    }
    const pieces = await mapBounded(indexes, chunksInFlight, async (index) => {
      const known = here?.get(index) ?? copies.get(index);
      return known ?? this.#parts.flights.chunk(origin, placementOf(chunked, index), signal);
    });
    const from = offset - table.start(first);
    const [only] = pieces;
    const all = pieces.length === 1 && only !== undefined ? only : Buffer.concat(pieces);
    return all.subarray(from, from + end - offset);
  }

  /** What a partial file has of some chunks, and is right. */
  async #readHere(
    partial: PartialFile,
    indexes: readonly number[],
  ): Promise<ReadonlyMap<number, Buffer>> {
    const here = new Map<number, Buffer>();
    await mapBounded(indexes, chunksInFlight, async (index) => {
      if (!partial.has(index)) return;
      const bytes = await partial.readChunk(index).catch((error: unknown) => this.#miss(error));
      if (bytes) here.set(index, bytes);
    });
    return here;
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

function unreadable({ content }: FileRef, cause: unknown): ThinError {
  return fromSystemError(`Cannot read file ${content} in the cache`, cause);
}

function notHere(file: FileRef): ThinError {
  return new ThinError(
    'not-found',
    `Cannot read file ${file.content}: it is not in the cache, and its image has no thin form to fetch it from (pull the image again)`,
  );
}
