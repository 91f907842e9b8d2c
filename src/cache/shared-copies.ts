import { LRUCache } from 'lru-cache';
import type { Digest } from '../digest.js';
import type { FileOrigin, FileRef } from './file-origin.js';
import type { KeeperEvents } from './frame-keeper.js';
import type { ChunkedFile } from './partial-file.js';
import type { PartialFiles } from './partial-files.js';
import type { SharedCopy, SharedFiles } from './shared-files.js';
import type { TierFiles } from './tier-files.js';

/**
 * Up to here a read waits for all of a file: 2 ms of copying and hashing. Up to the second it is copied
 * behind a read of some of it, as nearly all of it will be read (read-ahead.ts).
 */
const atOnceBytesMax = 1024 * 1024;
const wholeBytesMax = 8 * 1024 * 1024;
/** Bytes that are being copied; beyond it nothing is copied that nobody waits for. */
const bytesInFlightMax = 32 * 1024 * 1024;
/** Frames whose files were brought, and files that were asked for, as far as that is remembered. */
const framesMax = 4096;
const askedMax = 65_536;
/** Milliseconds for which it is remembered: what was missing may be there then. */
const askedMs = 10_000;
const blockBytes = 4096;

interface Flight {
  /** Ends when somebody who waits for the file should look again. Never fails. */
  readonly inTime: Promise<unknown>;
  readonly end: Promise<unknown>;
}

/** What it asks of the rest of the cache. */
export type CopiesEvents = Pick<KeeperEvents, 'admit' | 'written' | 'completed' | 'promoted'>;

/**
 * Whole files that the nodes of a site share, copied to this node by who reads them there: of what is read
 * of an image all comes by that way that is small, with what lies beside it in its frame.
 */
export class SharedCopies {
  readonly #files: TierFiles;
  readonly #partials: PartialFiles;
  readonly #events: CopiesEvents;
  readonly #shared: SharedFiles | undefined;
  readonly #flights = new Map<Digest, Flight>();
  readonly #frames = new LRUCache<string, true>({ max: framesMax, ttl: askedMs });
  readonly #asked = new LRUCache<Digest, true>({ max: askedMax, ttl: askedMs });
  #bytesInFlight = 0;

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

  /** Ends when a file that is being copied is here, or late; undefined if it is not. Never fails. */
  coming(content: Digest): Promise<unknown> | undefined {
    return this.#flights.get(content)?.inTime;
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
    const copy = this.#copy(file, chunked, offset, atOnce ? length : 0);
    if (copy) origin.beside?.(file);
    if (!atOnce) return undefined;
    this.#bringBeside(chunked, origin);
    return await copy?.bytes;
  }

  /** True if all of a file that is not here was copied. Never fails. */
  async bring(file: FileRef, chunked: ChunkedFile): Promise<boolean> {
    if (!this.#isUseful || file.size > wholeBytesMax) return false;
    const running = this.#flights.get(file.content);
    if (running) await running.end;
    else await this.#copy(file, chunked, 0, 0)?.kept;
    return this.#files.isVerified(file.content);
  }

  /** Ends when nothing is being copied. */
  async settled(): Promise<void> {
    await Promise.all([...this.#flights.values()].map(({ end }) => end));
  }

  get #isUseful(): boolean {
    return this.#shared?.here === true && !this.#shared.direct;
  }

  /** The other small files of its frame: nobody will see that they are read. */
  #bringBeside({ table }: ChunkedFile, origin: FileOrigin): void {
    const { frame } = table.chunk(0);
    const name = `${frame.pack} ${frame.offset}`;
    if (this.#frames.has(name)) return;
    this.#frames.set(name, true);
    for (const { content, size, chunk } of origin.placementsIn(frame)) {
      if (size !== chunk.length || this.#asked.has(content)) continue;
      if (this.#bytesInFlight >= bytesInFlightMax) return;
      if (this.#copy({ content, size }, undefined, 0, 0)) origin.beside?.({ content, size });
    }
  }

  /** Undefined where there is no room for it. @param chunked of a file that may be here in part */
  #copy(
    file: FileRef,
    chunked: ChunkedFile | undefined,
    offset: number,
    length: number,
  ): SharedCopy | undefined {
    const { content, size } = file;
    const bytes = Math.ceil(size / blockBytes) * blockBytes;
    if (!this.#shared || !this.#events.admit(bytes)) return undefined;
    const { local } = this.#files;
    const to = { incoming: local.incomingPath(), path: local.path(content) };
    this.#asked.set(content, true);
    this.#bytesInFlight += bytes;
    const copy = this.#shared.copy(file, to, offset, length);
    const end = copy.kept.then(async (kept) => {
      this.#bytesInFlight -= bytes;
      if (kept) this.#kept(file, chunked);
      this.#events.written(bytes);
      this.#flights.delete(content);
    });
    this.#flights.set(content, { inTime: copy.bytes, end });
    return copy;
  }

  #kept(file: FileRef, chunked: ChunkedFile | undefined): void {
    this.#files.verified(file.content);
    this.#events.completed(file);
    if (!chunked || chunked.table.chunks.length === 1) return;
    // What was here of it in part is of no use any more.
    this.#events.promoted(chunked.key);
    void this.#partials.remove(chunked.key).catch(() => undefined);
  }
}
