import type { Frame } from '../chunk/frame.js';
import { isThinError } from '../errors.js';
import type { CacheParts } from './cache-parts.js';
import type { FileOrigin, FileRef } from './file-origin.js';
import type { ChunkedFile } from './partial-file.js';

/**
 * Frames on their way at a time: enough for a line of 100 Mbit/s and 50 ms, and few enough that a
 * read that is urgent does not wait long for the line.
 */
const framesInFlight = 8;
/** Chunks that are copied at a time; their bytes are in memory. */
const copiedChunks = 64;
/** Ranges that wait: a program that opens more files than that is helped no more. */
const rangesMax = 65_536;

/** Bytes `offset` to `offset + length` of a file that will be read soon. */
export interface PrefetchRange extends FileRef {
  readonly offset: number;
  readonly length: number;
}

/** What a prefetch has done. */
export interface PrefetchTotals {
  /** Frames that were fetched, and their compressed bytes. */
  readonly frames: number;
  readonly bytes: number;
  /** Fetches that failed: whoever reads them is told why. */
  readonly failures: number;
}

export interface PrefetchOptions {
  readonly origin: FileOrigin;
  readonly signal: AbortSignal;
}

/**
 * Brings what will be read soon, in the order in which it is told, ahead of those who read it and
 * behind those who wait. A read that overtakes it joins the fetch that is under way, or does it itself.
 */
export class RangePrefetch {
  readonly #parts: CacheParts;
  readonly #options: PrefetchOptions;
  /** Ends when all that was added has had its turn. */
  #tail: Promise<void> = Promise.resolve();
  #waiting = 0;
  /** Frames that were asked for, by name. */
  readonly #asked = new Set<string>();
  readonly #flying = new Set<Promise<void>>();
  readonly #totals = { frames: 0, bytes: 0, failures: 0 };
  #full: boolean = false;

  constructor(parts: CacheParts, options: PrefetchOptions) {
    this.#parts = parts;
    this.#options = options;
  }

  /** Returns at once. Ranges of files that the origin does not know are passed over. */
  add(range: PrefetchRange): void {
    if (this.#ended || this.#waiting >= rangesMax) return;
    this.#waiting += 1;
    this.#tail = this.#tail.then(() => this.#take(range));
  }

  /** Ends when all that was added is here, or failed, or the signal was aborted. Never fails. */
  async settled(): Promise<PrefetchTotals> {
    let tail: Promise<void>;
    do {
      tail = this.#tail;
      await tail;
      await Promise.all(this.#flying);
    } while (tail !== this.#tail);
    return { ...this.#totals };
  }

  get #ended(): boolean {
    return this.#full || this.#options.signal.aborted;
  }

  async #take(range: PrefetchRange): Promise<void> {
    this.#waiting -= 1;
    if (!this.#ended) await this.#bring(range).catch(() => this.#failed());
  }

  async #bring(range: PrefetchRange): Promise<void> {
    const end = Math.min(range.offset + range.length, range.size);
    if (range.offset >= end) return;
    const { files, partials } = this.#parts;
    if (await files.has(range.content)) return;
    const chunked = partials.describe(range, this.#options.origin);
    if (chunked === undefined) return;
    const { table } = chunked;
    const last = table.indexAt(end - 1);
    for (let at = table.indexAt(range.offset); at <= last; at += copiedChunks) {
      const count = Math.min(copiedChunks, last - at + 1);
      await this.#bringChunks(
        chunked,
        Array.from({ length: count }, (_, index) => at + index),
      );
      if (this.#ended) return;
    }
  }

  async #bringChunks(chunked: ChunkedFile, indexes: readonly number[]): Promise<void> {
    const { table } = chunked;
    const missing = await this.#missing(chunked, indexes);
    const unasked = missing.filter((index) => !this.#asked.has(nameOf(table.chunk(index).frame)));
    const copied = await this.#parts.copier.copy(chunked, unasked);
    for (const index of unasked) {
      const { frame } = table.chunk(index);
      if (copied.has(index) || this.#asked.has(nameOf(frame))) continue;
      while (this.#flying.size >= framesInFlight) await Promise.race(this.#flying);
      if (this.#ended) return;
      // Somebody who read it may have been faster.
      if ((await this.#missing(chunked, [index])).length > 0) this.#fetch(frame);
    }
  }

  /** Those of the chunks that are not here. */
  async #missing(chunked: ChunkedFile, indexes: readonly number[]): Promise<number[]> {
    const { files, partials } = this.#parts;
    if (chunked.table.chunks.length === 1) {
      return (await files.has(chunked.file.content)) ? [] : [...indexes];
    }
    const partial = await partials.find(chunked).catch(() => undefined);
    return indexes.filter((index) => partial?.has(index) !== true);
  }

  #fetch(frame: Frame): void {
    this.#asked.add(nameOf(frame));
    const flight = this.#land(frame).finally(() => this.#flying.delete(flight));
    this.#flying.add(flight);
  }

  async #land(frame: Frame): Promise<void> {
    const { flights, ledger } = this.#parts;
    const { origin, signal } = this.#options;
    try {
      if (!(await ledger.hasRoom(frame.plainLength))) {
        this.#full = true;
        return;
      }
      await flights.prefetch(origin, frame, signal);
      this.#totals.frames += 1;
      this.#totals.bytes += frame.length;
    } catch (error) {
      if (!isThinError(error, 'canceled')) this.#failed();
    }
  }

  #failed(): void {
    this.#totals.failures += 1;
  }
}

function nameOf(frame: Frame): string {
  return `${frame.pack} ${frame.offset}`;
}
