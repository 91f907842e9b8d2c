import { setMaxListeners } from 'node:events';
import { LRUCache } from 'lru-cache';
import type { Digest } from '../digest.js';
import type { FileOrigin, FileRef } from './file-origin.js';
import type { KeeperEvents } from './frame-keeper.js';
import type { ChunkedFile } from './partial-file.js';
import type { PartialFiles } from './partial-files.js';
import type { PrefetchRange } from './prefetch-range.js';
import type { CopyEnd, CopyTarget, SharedCopy, SharedFiles } from './shared-files.js';
import type { TierFiles } from './tier-files.js';

/**
 * Up to here a read waits for all of a file: 2 ms of copying and hashing. Up to the second it is copied
 * behind a read of some of it, as nearly all of it will be read (read-ahead.ts).
 */
const atOnceBytesMax = 1024 * 1024;
const wholeBytesMax = 8 * 1024 * 1024;
/** Files that are being copied, and their bytes; beyond either nothing is that no read waits for. */
const flightsMax = 512;
const bytesInFlightMax = 32 * 1024 * 1024;
/** Frames whose files were brought, and files that were asked for, as far as that is remembered. */
const framesMax = 4096;
const askedMax = 65_536;
/** Milliseconds for which it is remembered: what was missing may be there then. */
const askedMs = 10_000;
/** Milliseconds that a file is waited for, and bytes for which it is one more: 2 MB/s. Then others have it. */
const bringMs = 2000;
const bytesPerMs = 2000;
/** Milliseconds after which one that has not ended hangs, and keeps no room from others. */
const hangsMs = 30_000;
/** A file that is brought weighs so much less than what is read of it: nothing is counted as late. */
const weightShare = 4;
/** Milliseconds for what is under way at the end. */
const endMs = 1000;
const blockBytes = 4096;

interface Flight {
  /** What was asked for of the file; undefined where it is late. Never fails. */
  readonly bytes: Promise<Buffer | undefined>;
  /** Ends, perhaps never by itself, when nothing is being written: true if the file is here. Never fails. */
  readonly end: Promise<boolean>;
  readonly isAtOnce: boolean;
}

/** What it asks of the rest of the cache. */
export type CopiesEvents = Pick<KeeperEvents, 'admit' | 'written' | 'completed' | 'promoted'>;

/**
 * Whole files that the nodes of a site share, copied to this node by who reads them there: of what is read
 * of an image all comes by that way that is small, with what lies beside it in its frame.
 */
export class SharedCopies implements AsyncDisposable {
  readonly #files: TierFiles;
  readonly #partials: PartialFiles;
  readonly #events: CopiesEvents;
  readonly #shared: SharedFiles | undefined;
  readonly #flights = new Map<Digest, Flight>();
  readonly #frames = new LRUCache<string, true>({ max: framesMax, ttl: askedMs });
  readonly #asked = new LRUCache<Digest, true>({ max: askedMax, ttl: askedMs });
  #bytesInFlight = 0;
  #closed: boolean = false;

  constructor(
    files: TierFiles,
    partials: PartialFiles,
    events: CopiesEvents,
    shared: SharedFiles | undefined,
  ) {
    this.#files = files;
    this.#partials = partials;
    this.#events = events;
    this.#shared = shared;
  }

  /**
   * Ends when a file that is being copied is here, or late; undefined if it is not, or is so large that what
   * is read of it is sooner had elsewhere. Never fails.
   */
  coming(content: Digest): Promise<unknown> | undefined {
    const flight = this.#flights.get(content);
    return flight?.isAtOnce ? flight.bytes : undefined;
  }

  /** Whether all of it is about to be here: parts of it need not be kept. */
  isComing(content: Digest): boolean {
    return this.#flights.has(content);
  }

  /**
   * Some of a file that is not here, which is kept, with what lies beside it; undefined where that is not
   * to be had, or not in time, or the file is so large that it is only begun. Never fails.
   */
  async read(
    chunked: ChunkedFile,
    offset: number,
    length: number,
    origin: FileOrigin,
  ): Promise<Buffer | undefined> {
    const { file } = chunked;
    if (!this.#isUseful || file.size > wholeBytesMax || this.isComing(file.content))
      return undefined;
    const atOnce = file.size <= atOnceBytesMax;
    const flight = this.#begin(file, chunked, offset, atOnce ? length : 0);
    if (flight) origin.beside?.(file);
    if (!atOnce) return undefined;
    void this.#bringBeside(chunked, origin);
    return await flight?.bytes;
  }

  /** True if all of a file is here now; false also where that takes too long. Never fails. */
  async bring(chunked: ChunkedFile, signal: AbortSignal): Promise<boolean> {
    const { file } = chunked;
    if (!this.#isUseful || file.size > wholeBytesMax) return false;
    const flight = this.#flights.get(file.content) ?? this.#begin(file, chunked, 0, 0);
    if (!flight) return false;
    return await within(bringMs + file.size / bytesPerMs, flight.end, signal);
  }

  /** Bytes of a look for some of a file, which is brought whole where that is so. */
  weightOf({ size, length }: PrefetchRange): number {
    const isBrought = this.#isUseful && size <= wholeBytesMax;
    return isBrought ? Math.max(length, size / weightShare) : length;
  }

  get #isUseful(): boolean {
    return this.#shared?.here === true && !this.#shared.direct;
  }

  /** The other small files of its frame: nobody will see that they are read. Never fails. */
  async #bringBeside({ table }: ChunkedFile, origin: FileOrigin): Promise<void> {
    const { frame } = table.chunk(0);
    const name = `${frame.pack} ${frame.offset}`;
    if (this.#frames.has(name)) return;
    this.#frames.set(name, true);
    const small = origin.placementsIn(frame).filter(({ content, size, chunk }) => {
      const isKnown = this.#asked.has(content) || this.#files.isVerified(content);
      return size === chunk.length && !isKnown;
    });
    const elsewhere = await this.#files.elsewhere(small.map(({ content }) => content));
    for (const { content, size } of small) {
      if (elsewhere.has(content) || this.isComing(content)) continue;
      if (this.#begin({ content, size }, undefined, 0, 0)) origin.beside?.({ content, size });
    }
  }

  /**
   * Undefined where there is no room for it.
   * @param chunked of a file that may be here in part
   * @param length none: no read waits for it
   */
  #begin(
    file: FileRef,
    chunked: ChunkedFile | undefined,
    offset: number,
    length: number,
  ): Flight | undefined {
    const { content, size } = file;
    const bytes = Math.ceil(size / blockBytes) * blockBytes;
    const isFull =
      this.#flights.size >= flightsMax || this.#bytesInFlight + bytes > bytesInFlightMax;
    if (!this.#shared || this.#closed || (isFull && length === 0)) return undefined;
    if (!this.#events.admit(bytes)) return undefined;
    const { local } = this.#files;
    const to = { incoming: local.incomingPath(), path: local.path(content) };
    this.#asked.set(content, true);
    const release = this.#takeRoom(bytes);
    const copy = this.#shared.copy(file, to, offset, length);
    const end = this.#ended(file, copy, to).then((became) => {
      release();
      if (became === 'kept') this.#completed(file, chunked);
      this.#events.written(bytes);
      if (this.#flights.get(content) === flight) this.#flights.delete(content);
      return became !== 'not-kept';
    });
    const flight = { bytes: copy.bytes, end, isAtOnce: size <= atOnceBytesMax };
    this.#flights.set(content, flight);
    return flight;
  }

  /** Of {@link bytesInFlightMax}. @returns gives it back, once */
  #takeRoom(bytes: number): () => void {
    let isTaken = true;
    const release = () => {
      clearTimeout(hangs);
      if (isTaken) this.#bytesInFlight -= bytes;
      isTaken = false;
    };
    const hangs = setTimeout(release, hangsMs).unref();
    this.#bytesInFlight += bytes;
    return release;
  }

  /** What is `unknown` is looked for. Never fails. */
  async #ended(
    { content }: FileRef,
    { end }: SharedCopy,
    { incoming }: CopyTarget,
  ): Promise<CopyEnd> {
    const became = await end;
    if (became === 'kept') this.#files.verified(content);
    if (became !== 'unknown') return became;
    const { local } = this.#files;
    await local.disk.unlink(incoming).catch(() => undefined); // where there is something
    return (await local.exists(content).catch(() => false)) ? 'kept' : 'not-kept';
  }

  #completed(file: FileRef, chunked: ChunkedFile | undefined): void {
    this.#events.completed(file);
    if (!chunked || chunked.table.chunks.length === 1) return;
    // What was here of it in part is of no use any more.
    this.#events.promoted(chunked.key);
    void this.#partials.remove(chunked.key).catch(() => undefined);
  }

  /** Ends what is being copied, after a moment also what hangs. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    const hangs = setTimeout(() => this.#shared?.endCopies(), endMs);
    await Promise.all([...this.#flights.values()].map(({ end }) => end));
    clearTimeout(hangs);
  }
}

/** False where it takes longer, or the signal is aborted. */
function within(ms: number, work: Promise<boolean>, signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) return Promise.resolve(false);
  setMaxListeners(0, signal); // that of a mount
  return new Promise((resolve) => {
    const end = (isDone: boolean) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', giveUp);
      resolve(isDone);
    };
    const giveUp = () => end(false);
    const timer = setTimeout(giveUp, ms);
    signal.addEventListener('abort', giveUp, { once: true });
    void work.then(end);
  });
}
