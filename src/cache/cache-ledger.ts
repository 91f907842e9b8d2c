import { performance } from 'node:perf_hooks';
import { setTimeout as wait } from 'node:timers/promises';
import { type Digest, digestHex } from '../digest.js';
import { isThinError, ThinError } from '../errors.js';
import { DeferredRecords, type PlacedFiles } from './deferred-records.js';
import type { DigestSet } from './digest-set.js';
import { errnoName } from './disk.js';
import type { EvictionTarget } from './evictor.js';
import type { FileRef } from './file-origin.js';
import type { ReaderEvents } from './file-reader.js';
import { type FileHold, FileUse } from './file-use.js';
import type { KeeperEvents, PlacedFile } from './frame-keeper.js';
import { type ChunkCopy, chunkPlaces } from './index-chunks.js';
import type { EvictionCandidate } from './index-eviction.js';
import { IndexFeed } from './index-feed.js';
import type { FileKind, IndexTotals } from './index-files.js';
import type { CacheIndex } from './index-thread.js';
import { localTier } from './layout.js';
import type { NearEvents } from './near-chunks.js';
import { newFiles, unpackRawFiles } from './packed-files.js';
import type { ChunkBytes, PartialFile } from './partial-file.js';
import type { SpaceLimits } from './space-budget.js';
import { Syncer } from './syncer.js';
import type { Tier } from './tier.js';
import { TierSpace } from './tier-space.js';

/** A disk takes whole blocks: what small files count for. */
const blockBytes = 4096;
/** Longest that a read waits to be told of copies; then it fetches. */
const copyLookupMsMax = 50;
/** Longest that eviction waits for mounts to let go of what was removed. */
const settleMsMax = 5000;
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
  /** @param tier where it is, if that is known: elsewhere it may be on its way to */
  remove(kind: FileKind, name: string, content: Digest, tier?: string): Promise<void>;
}

export interface LedgerOptions {
  readonly tiers: readonly { readonly tier: Tier; readonly limits: SpaceLimits }[];
  readonly index: CacheIndex;
  readonly log: CacheLog;
  readonly files: LedgerFiles;
  readonly totals: IndexTotals;
  readonly onWrong: OnWrong | undefined;
  readonly onMountedEvicted: (() => Promise<void>) | undefined;
}

/** Told of files that were removed because they were not what their names say. */
export type OnWrong = (contents: readonly Digest[]) => void;

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
export class CacheLedger implements KeeperEvents, ReaderEvents, NearEvents, AsyncDisposable {
  /** In the order of the tiers. */
  readonly spaces: readonly TierSpace[];
  readonly counters: CacheCounters = { wrongFiles: 0, failures: 0 };
  readonly #local: TierSpace;
  readonly #index: CacheIndex;
  readonly #log: CacheLog;
  readonly #files: LedgerFiles;
  readonly #use: FileUse;
  readonly #feed: IndexFeed;
  readonly #deferred = new DeferredRecords((placed) => this.#recordMany(placed));
  readonly #syncer: Syncer;
  readonly #onWrong: OnWrong | undefined;
  readonly #loggedAt = new Map<string, number>();
  /** What leaves last. */
  #last: DigestSet | undefined;
  #totals: IndexTotals;

  constructor({ tiers, index, log, files, totals, onWrong, onMountedEvicted }: LedgerOptions) {
    this.#index = index;
    this.#log = log;
    this.#files = files;
    this.#totals = totals;
    this.#onWrong = onWrong;
    const now = () => performance.now();
    this.#use = new FileUse(now);
    const trouble = (what: string) => (error: unknown) => this.#trouble(error, what);
    const target: EvictionTarget = {
      refresh: () => this.refresh(),
      measureAlone: () => this.#measureAlone(),
      inUse: (file) => this.#use.inUse(file.content) || files.busy(file),
      isLast: (file) => this.#last?.has(file.content) === true,
      remove: (file) => this.#remove(file.kind, file.name, file.content, file.tier),
      mountedRemoved: () => withinMs(settleMsMax, onMountedEvicted?.()),
      failed: trouble('cannot evict'),
    };
    this.spaces = tiers.map(({ tier, limits }) => new TierSpace(tier, limits, index, target, now));
    this.#local = this.space(localTier);
    for (const space of this.spaces) space.recording()(totals);
    this.#feed = new IndexFeed(index, () => this.#recording(), trouble('cannot use index'));
    const flush = () => this.flush();
    const synced = tiers.map(({ tier }) => tier);
    this.#syncer = new Syncer(synced, index, flush, trouble('cannot sync cache'));
  }

  /** @throws ThinError `invalid` if there is no tier of that name */
  space(name: string): TierSpace {
    const space = this.spaces.find(({ tier }) => tier.name === name);
    if (space !== undefined) return space;
    const names = this.spaces.map(({ tier }) => tier.name).join(', ');
    throw new ThinError('invalid', `Cannot use tier "${name}": there is none (wanted ${names})`);
  }

  /** Begins to evict by itself. */
  start(): void {
    for (const { evictor } of this.spaces) evictor.start();
  }

  /** Evicts what may go in every tier that has too much. */
  async evict(): Promise<void> {
    await Promise.all(this.spaces.map(({ evictor }) => evictor.run()));
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

  /** Files that leave only when nothing else may; instead of those told before. */
  keepLast(contents: DigestSet): void {
    this.#last = contents;
  }

  inUse(content: Digest): boolean {
    return this.#use.inUse(content);
  }

  /** Files count as in use no longer only because they were read a moment ago. */
  forgetRecentUse(): void {
    this.#use.forgetRecent();
  }

  admit(bytes: number): boolean {
    return this.#local.admit(bytes);
  }

  /** Makes room for what nobody waits for; never at the cost of what is mounted. */
  hasRoom(bytes: number): Promise<boolean> {
    return this.#local.makeRoom(bytes);
  }

  /** Files leave until `bytes` of the local disk are free, or nothing more may go. Never fails. */
  giveBack(bytes: number): Promise<void> {
    return this.#local.giveBack(bytes);
  }

  /** The index knows what happened before this call, if it works. */
  flush(): Promise<void> {
    this.#deferred.tellAll();
    return this.#feed.flush();
  }

  written(bytes: number): void {
    this.#local.written(bytes);
  }

  completed(file: FileRef, { tier = localTier, allocated }: PlacedFile = {}): void {
    this.#feed.placed({
      ...file,
      kind: 'complete',
      name: digestHex(file.content),
      tier,
      allocated: allocated ?? Math.ceil(file.size / blockBytes) * blockBytes,
    });
    this.#syncer.placed(file.size);
  }

  /** It was in another tier before, and still is. */
  moved(file: FileRef, placed: PlacedFile): void {
    this.#deferred.tellAll(); // that it was placed there comes first
    this.completed(file, placed);
  }

  /** Files that somebody else has placed in a tier, as packed-files.ts has them. */
  placedMany(tier: string, files: readonly Buffer[]): void {
    this.#deferred.placed({ tier, files });
  }

  /** Until it is disposed, such files are recorded only when they have to be. */
  deferRecords(): Disposable {
    return this.#deferred.defer();
  }

  #recordMany({ tier, files }: PlacedFiles): void {
    const placed = newFiles(files);
    let bytes = 0;
    for (const { allocated = 0 } of unpackRawFiles(placed)) bytes += allocated;
    this.#feed.placedMany(tier, placed);
    this.#syncer.placed(bytes);
  }

  filled({ file, key, allocated, table }: PartialFile, chunks: readonly ChunkBytes[]): void {
    this.#feed.placed({ ...file, kind: 'partial', name: key, tier: localTier, allocated });
    const places = chunks.map(({ index }) => {
      return { digest: table.chunk(index).digest, offset: table.start(index) };
    });
    this.#feed.chunks(chunkPlaces(file.content, places));
  }

  promoted(key: string): void {
    this.#feed.removed('partial', key);
  }

  async findCopies(chunks: readonly Digest[]): Promise<readonly (ChunkCopy | undefined)[]> {
    if (this.#totals.completeFiles + this.#totals.partialFiles === 0) return [];
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
    this.#onWrong?.([content]);
  }

  /** A file that had been set aside was wrong, and is removed. */
  dismissed(content: Digest): void {
    this.counters.wrongFiles++;
    this.#log.warn({ content }, 'cached file was changed or torn while we were away, removed it');
    this.#onWrong?.([content]);
  }

  failed(error: unknown): void {
    this.counters.failures++;
    if (errnoName(error) === 'ENOSPC' || errnoName(error) === 'EDQUOT') {
      this.#local.full();
    }
    this.#trouble(error, 'cannot keep or read cached bytes, going on without');
  }

  /** Brings index and budget up to date with the disk, as far as it answers. */
  async refresh(): Promise<void> {
    const recorded = this.#recording();
    await this.flush();
    recorded(await this.#index.call('totals'));
    await this.#measure();
  }

  async #measureAlone(): Promise<boolean> {
    if (!this.#deferred.isDeferring) return false;
    await this.#measure();
    return true;
  }

  async #measure(): Promise<void> {
    for (const space of this.spaces) {
      await space.measure().catch((error: unknown) => {
        this.#trouble(error, 'cannot measure free space');
      });
    }
  }

  /** Makes durable all that was placed before this call; true if it worked. */
  sync(): Promise<boolean> {
    return this.#syncer.sync();
  }

  async #remove(kind: FileKind, name: string, content: Digest, tier?: string): Promise<void> {
    await this.#files.remove(kind, name, content, tier);
    this.#deferred.tellAll(); // that it was placed comes first
    this.#feed.removed(kind, name);
  }

  #recording(): (totals: IndexTotals) => void {
    const tell = this.spaces.map((space) => space.recording());
    return (totals) => {
      this.#totals = totals;
      for (const recorded of tell) recorded(totals);
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
    for (const space of this.spaces) await space[Symbol.asyncDispose]();
    await this.#syncer[Symbol.asyncDispose]();
    const durable = await this.#syncer.sync();
    await this.#syncer[Symbol.asyncDispose]();
    this.#feed.close();
    try {
      await this.#index.call('close', durable && this.#feed.lossless);
    } catch (error) {
      this.#trouble(error, 'cannot close index');
    }
    await this.#index.stop();
  }
}

/** Waits for `work`, which is none of ours, but not for ever, and whatever becomes of it. */
async function withinMs(ms: number, work: Promise<void> | undefined): Promise<void> {
  if (work === undefined) return;
  const over = new AbortController();
  const late = wait(ms, undefined, { signal: over.signal });
  await Promise.race([work, late]).catch(() => undefined);
  over.abort();
  await late.catch(() => undefined);
}
