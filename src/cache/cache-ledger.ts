import { performance } from 'node:perf_hooks';
import { type Digest, digestHex } from '../digest.js';
import { isThinError, ThinError } from '../errors.js';
import type { ChunkTable } from './chunk-table.js';
import { type Disk, errnoName } from './disk.js';
import { Evictor } from './evictor.js';
import type { FileRef } from './file-origin.js';
import type { ChunkCopy, ReaderEvents } from './file-reader.js';
import { type FileHold, FileUse } from './file-use.js';
import type { WriterEvents } from './file-writer.js';
import type { KeeperEvents } from './frame-keeper.js';
import { IndexFeed } from './index-feed.js';
import type { FileKind, IndexTotals } from './index-files.js';
import type { EvictionCandidate } from './index-images.js';
import type { CacheIndex } from './index-thread.js';
import type { PartialFile } from './partial-file.js';
import { SpaceBudget, type SpaceLimits } from './space-budget.js';
import { Syncer } from './syncer.js';

/** A disk takes whole blocks: what small files count for. */
const blockBytes = 4096;
/** Longest that a read waits to be told of copies; then it fetches. */
const copyLookupMsMax = 50;
/** Milliseconds between two log lines about the same trouble. */
const logMs = 10_000;

/** What the cache says; pino's logger is one. */
export interface CacheLog {
  info(details: object, message: string): void;
  warn(details: object, message: string): void;
}

/** Where the ledger reaches the files that it keeps account of. */
export interface LedgerFiles {
  busy(file: EvictionCandidate): boolean;
  remove(kind: FileKind, name: string, content: Digest): Promise<void>;
}

export interface LedgerOptions {
  readonly root: string;
  readonly limits: SpaceLimits;
  readonly disk: Disk;
  readonly index: CacheIndex;
  readonly log: CacheLog;
  readonly files: LedgerFiles;
  readonly totals: IndexTotals;
}

/** Trouble that was met and survived, since the cache was opened. */
export interface CacheCounters {
  /** Files at rest that were not what their name says. */
  wrongFiles: number;
  /** Files and frames that could not be kept or read for the disk's sake. */
  failures: number;
}

/**
 * The cache's accounts: what is here, how much it takes, what is in use. Everything that happens to
 * a file is told here, and goes from here to the index, the budget, the syncer and eviction.
 */
export class CacheLedger implements KeeperEvents, ReaderEvents, WriterEvents, AsyncDisposable {
  readonly budget: SpaceBudget;
  readonly counters: CacheCounters = { wrongFiles: 0, failures: 0 };
  readonly evictor: Evictor;
  readonly #root: string;
  readonly #disk: Disk;
  readonly #index: CacheIndex;
  readonly #log: CacheLog;
  readonly #files: LedgerFiles;
  readonly #use: FileUse;
  readonly #feed: IndexFeed;
  readonly #syncer: Syncer;
  readonly #loggedAt = new Map<string, number>();
  #totals: IndexTotals;

  constructor({ root, limits, disk, index, log, files, totals }: LedgerOptions) {
    this.#root = root;
    this.#disk = disk;
    this.#index = index;
    this.#log = log;
    this.#files = files;
    this.#totals = totals;
    const now = () => performance.now();
    this.#use = new FileUse(now);
    this.budget = new SpaceBudget(limits, now);
    this.budget.recorded(totals.bytes, 0);
    const trouble = (what: string) => (error: unknown) => this.#trouble(error, what);
    this.#feed = new IndexFeed(index, () => this.#recording(), trouble('cannot use index'));
    const flush = () => this.#feed.flush();
    this.#syncer = new Syncer(disk, root, index, flush, trouble('cannot sync cache'));
    this.evictor = new Evictor(this.budget, index, {
      refresh: () => this.refresh(),
      inUse: (file) => this.#use.inUse(file.content) || files.busy(file),
      remove: (file) => this.#remove(file.kind, file.name, file.content),
      failed: trouble('cannot evict'),
    });
  }

  get totals(): IndexTotals {
    return this.#totals;
  }

  /** A file is being read, here or by a FUSE worker. */
  used(content: Digest): void {
    if (this.#use.used(content)) this.#feed.touched(content);
  }

  hold(): FileHold {
    return this.#use.hold();
  }

  /** Files count as in use no longer only because they were read a moment ago. */
  forgetRecentUse(): void {
    this.#use.forgetRecent();
  }

  admit(bytes: number): boolean {
    const admitted = this.budget.admit(bytes);
    if (!admitted || this.budget.demand.needed > 0) this.evictor.request();
    return admitted;
  }

  async reserve(bytes: number): Promise<void> {
    if (this.budget.admit(bytes)) return;
    this.budget.ask(bytes);
    try {
      // A run that is under way may have begun before it was asked.
      for (let run = 1; run <= 2; run++) {
        await this.evictor.run();
        if (this.budget.admit(bytes)) return;
      }
    } finally {
      this.budget.ask(-bytes);
    }
    const { quotaBytes } = this.budget.limits;
    throw new ThinError(
      'no-space',
      `Cannot store ${bytes} bytes in the cache: ${this.budget.usedBytes} of ${quotaBytes} bytes are in use, and what may go has gone (allow it more space, or remove images)`,
    );
  }

  written(bytes: number): void {
    this.budget.written(bytes);
  }

  completed(file: FileRef, allocated?: number, table?: ChunkTable): void {
    this.#feed.placed({
      ...file,
      kind: 'complete',
      name: digestHex(file.content),
      allocated: allocated ?? Math.ceil(file.size / blockBytes) * blockBytes,
    });
    if (table !== undefined) {
      const digests = table.chunks.map(({ digest }) => digest);
      const offsets = digests.map((_, at) => table.start(at));
      this.#feed.chunks({ content: file.content, digests, offsets });
    }
    this.#syncer.placed(file.size);
  }

  filled({ file, key, allocated }: PartialFile): void {
    this.#feed.placed({ ...file, kind: 'partial', name: key, allocated });
  }

  promoted(key: string): void {
    this.#feed.removed('partial', key);
  }

  async findCopies(chunks: readonly Digest[]): Promise<readonly (ChunkCopy | undefined)[]> {
    if (this.#totals.completeFiles === 0) return [];
    let timer: NodeJS.Timeout | undefined;
    const tooLate = new Promise<[]>((resolve) => {
      timer = setTimeout(resolve, copyLookupMsMax, []);
    });
    try {
      return await Promise.race([this.#index.call('findChunks', chunks), tooLate]);
    } catch (error) {
      this.#trouble(error, 'cannot use index');
      return [];
    } finally {
      clearTimeout(timer);
    }
  }

  async wrong(content: Digest): Promise<void> {
    this.counters.wrongFiles++;
    this.#log.warn({ content }, 'cached file is not what it should be, removing it');
    await this.#remove('complete', digestHex(content), content);
  }

  failed(error: unknown): void {
    this.counters.failures++;
    if (errnoName(error) === 'ENOSPC' || errnoName(error) === 'EDQUOT') {
      this.budget.full();
      this.evictor.request();
    }
    this.#trouble(error, 'cannot keep or read cached bytes, going on without');
  }

  /** Brings index and budget up to date with the disk, as far as it answers. */
  async refresh(): Promise<void> {
    const recorded = this.#recording();
    await this.#feed.flush();
    recorded(await this.#index.call('totals'));
    try {
      const { freeBytes } = await this.#disk.space(this.#root);
      this.budget.measured(freeBytes);
    } catch (error) {
      this.#trouble(error, 'cannot measure free space');
    }
  }

  /** Makes durable all that was placed before this call; true if it worked. */
  sync(): Promise<boolean> {
    return this.#syncer.sync();
  }

  async #remove(kind: FileKind, name: string, content: Digest): Promise<void> {
    await this.#files.remove(kind, name, content);
    this.#feed.removed(kind, name);
  }

  /** What is written from here on is not in the totals that the index tells next. */
  #recording(): (totals: IndexTotals) => void {
    const { writtenBytes } = this.budget;
    return (totals) => {
      this.#totals = totals;
      this.budget.recorded(totals.bytes, writtenBytes);
    };
  }

  /** One line for trouble that would otherwise fill the log as fast as files are read. */
  #trouble(error: unknown, message: string): void {
    if (isThinError(error, 'busy', 'canceled')) return;
    const now = performance.now();
    if (now - (this.#loggedAt.get(message) ?? Number.NEGATIVE_INFINITY) < logMs) return;
    this.#loggedAt.set(message, now);
    this.#log.warn({ err: error }, message);
  }

  /** Ends the accounts. The index is marked clean if it tells everything that is on the disk. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.evictor[Symbol.asyncDispose]();
    await this.#syncer[Symbol.asyncDispose]();
    const durable = await this.#syncer.sync();
    await this.#syncer[Symbol.asyncDispose]();
    try {
      await this.#index.call('close', durable && this.#feed.lossless);
    } catch (error) {
      this.#trouble(error, 'cannot close index');
    }
    await this.#index.stop();
  }
}
