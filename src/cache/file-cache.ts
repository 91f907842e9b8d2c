/*
 * src/cache: the files of images on this node's disk. It knows chunks, frames and digests; it never
 * learns of registries, FUSE or mounts: who needs its files tells it so, and FileOrigin is all it
 * knows of where bytes come from. layout.ts shows the directories; one read is followed in
 * file-reader.ts; what survives a power cut, and why, is told in syncer.ts and index-recovery.ts;
 * cache-parts.ts shows what it is made of.
 */
import type { Digest } from '../digest.js';
import { ThinError } from '../errors.js';
import { bulkPlace, bulkWriter, type FastTier, fastTier } from './bulk-place.js';
import type { BulkPlace, BulkWriter } from './bulk-writer.js';
import type { CacheLog, OnWrong } from './cache-ledger.js';
import { type CacheParts, cacheParts } from './cache-parts.js';
import type { GcResult } from './cache-upkeep.js';
import { type CacheUsage, cacheUsage } from './cache-usage.js';
import type { OwnedLease } from './cached-images.js';
import type { Disk } from './disk.js';
import type { FileOrigin, FileRef, ListedFiles } from './file-origin.js';
import type { FileHold } from './file-use.js';
import { FileWriter } from './file-writer.js';
import { HotFiles } from './hot-files.js';
import {
  type CompletionOptions,
  type CompletionProgress,
  ImageCompletion,
} from './image-completion.js';
import type { IndexStart } from './index-calls.js';
import type { MountLease } from './index-images.js';
import { type CacheIndex, IndexThread } from './index-thread.js';
import {
  type CacheLayout,
  cacheLayout,
  localTier,
  lockPlaces,
  prepareRoot,
  removeIncoming,
  type TierPlace,
} from './layout.js';
import type { NearChunks } from './near-chunks.js';
import type { PartialView, PartialViewEvents } from './partial-view.js';
import { type PrefetchOptions, RangePrefetch } from './range-prefetch.js';
import type { ReadPolicy, ReadsInFlight } from './reads-in-flight.js';
import { RootLock } from './root-lock.js';
import type { VerifyResult } from './scrubber.js';
import { directDirectories, type SharedFiles } from './shared-files.js';
import { pinImage } from './shared-offers.js';
import type { SpaceLimits } from './space-budget.js';

/** A directory of complete files on another disk than the cache's own. */
export interface TierOptions extends TierPlace, SpaceLimits {}

export interface CacheOptions extends SpaceLimits, PartialViewEvents {
  /** Directory of our own; made if it is missing. */
  readonly root: string;
  /** Tiers that are looked at before the one in `root`, which is named `local`; the fastest first. */
  readonly tiers?: readonly TierOptions[];
  readonly log: CacheLog;
  /** Told of files that were removed for being wrong: who has them open reads wrong bytes. */
  readonly onWrong?: OnWrong | undefined;
  /**
   * Files of mounted images were removed for want of space. What the kernel has found takes its space
   * until it looks again: the promise ends when it does, and the free space is measured after that.
   */
  readonly onMountedEvicted?: (() => Promise<void>) | undefined;
  /** What the nodes of a site have in common: asked before an origin. */
  readonly shared?: SharedFiles | undefined;
  readonly reads?: ReadPolicy;
  /** The real disk if not given. */
  readonly disk?: Disk;
  /** How the index is opened: in a thread of its own if not given. */
  readonly openIndex?: (layout: CacheLayout) => Promise<CacheIndex>;
}

/**
 * The files of all images on this node: complete ones in a tier under their digest, large ones being
 * filled, an index of both. What is missing is fetched from the image's origin, verified, given to
 * the read, and kept. A disk that is full or fails never fails a read that the origin can answer.
 */
export class FileCache implements AsyncDisposable {
  /** Where complete files are, `xx/<64 hex>` below each, in the order in which they are looked for. */
  readonly tierDirectories: readonly string[];
  /** The reads that wait for something now. */
  readonly reads: ReadsInFlight;
  readonly hotFiles: HotFiles;
  readonly nearChunks: NearChunks;
  readonly #lock: RootLock;
  readonly #index: CacheIndex;
  readonly #parts: CacheParts;
  #disposed: Promise<void> | undefined;

  /**
   * @throws ThinError `busy` if another process has the root or a tier; `denied` or `invalid` if one
   *   of them is not a directory that is ours alone
   */
  static async open(options: CacheOptions): Promise<FileCache> {
    const layout = cacheLayout(options.root, options.tiers);
    prepareRoot(layout);
    const lock = RootLock.take(lockPlaces(layout));
    let index: CacheIndex | undefined;
    try {
      removeIncoming(layout);
      index = await (options.openIndex ?? IndexThread.open)(layout);
      const start = await index.call('start');
      const cache = new FileCache(lock, index, cacheParts(options, layout, index, start));
      cache.#begin(start, options.log);
      return cache;
    } catch (error) {
      await index?.stop();
      lock[Symbol.dispose]();
      throw error;
    }
  }

  private constructor(lock: RootLock, index: CacheIndex, parts: CacheParts) {
    this.#lock = lock;
    this.#index = index;
    this.#parts = parts;
    this.reads = parts.reads;
    this.hotFiles = new HotFiles(parts);
    this.nearChunks = parts.near;
    this.tierDirectories = parts.files.tiers.map(({ directory }) => directory);
  }

  /** Begins the work in the background. */
  #begin({ state, suspects }: IndexStart, log: CacheLog): void {
    this.#parts.ledger.start();
    this.#parts.scrubber.start();
    if (!suspects) return;
    log.info({ state }, 'verifying cached files that may be torn, or were changed while stopped');
    this.#parts.upkeep.settleSuspects();
  }

  /**
   * Bytes `offset` to `offset + length` of a file, fewer where it ends before. What is not here is
   * fetched from `origin`; nothing is returned that was not verified.
   * @throws ThinError `corrupt` if the origin has other bytes than the image says, or the image
   *   contradicts itself; `not-found` if it is not here and the origin does not know it; `unavailable`
   *   after the deadline; `canceled`; whatever the origin throws
   */
  read(
    file: FileRef,
    offset: number,
    length: number,
    origin: FileOrigin,
    signal: AbortSignal,
  ): Promise<Buffer> {
    if (this.#disposed !== undefined) return Promise.reject(closed());
    this.#parts.ledger.used(file.content);
    return this.reads.run({ ...file, offset, length, origin }, signal, (limited) =>
      this.#parts.reader.read(file, offset, length, origin, limited),
    );
  }

  /** The same for mounts that the kernel reads by itself: with what nodes share, where that is so. */
  get mountedDirectories(): readonly string[] {
    return [...this.tierDirectories, ...directDirectories(this.#parts.shared)];
  }

  /** Where the complete file is or would be in the local tier; see also `tierPath` of layout.ts. */
  pathOf(content: Digest): string {
    return this.#parts.files.local.path(content);
  }

  /** True if the whole file is here. */
  has(content: Digest): Promise<boolean> {
    return this.#parts.files.has(content);
  }

  /** What other threads may read of a file that is being filled: `origin` is believed only for its own. */
  partialView(file: FileRef, origin: FileOrigin): PartialView | undefined {
    return this.#parts.partials.view(file, origin);
  }

  /** Files that were opened by path, by somebody who does not go through `read`. */
  touch(contents: Iterable<Digest>): void {
    for (const content of contents) {
      this.#parts.ledger.used(content);
      this.#parts.upkeep.verifyFirstUse(content);
    }
  }

  /** Keeps what is added to it from eviction until it is disposed. */
  hold(): FileHold {
    return this.#parts.ledger.hold();
  }

  /**
   * For a file whose digest is not known yet; what it commits is added to `hold`.
   * @param options `tier`: where it goes if there is room, else to `local`; `local` if not given
   * @throws ThinError `invalid` if there is no such tier
   */
  fileWriter(hold: FileHold, { tier = localTier }: { readonly tier?: string } = {}): FileWriter {
    const { files, ledger } = this.#parts;
    const spaces = new Set([ledger.space(tier), ledger.space(localTier)]);
    return new FileWriter(files, [...spaces], hold, ledger);
  }

  /** Where files of a tier go that somebody else stores. @throws ThinError `invalid` */
  bulkPlace(tier: string = localTier): BulkPlace {
    return bulkPlace(this.#parts, tier);
  }

  /** The tier that is looked at first, if there is one before `local`. */
  get fastTier(): FastTier | undefined {
    return fastTier(this.#parts);
  }

  /** The books for many files that somebody else stores; what it is told of is added to `hold`. */
  bulkWriter(hold: FileHold, tier: string = localTier): BulkWriter {
    return bulkWriter(this.#parts, hold, tier);
  }

  /** Until it is disposed, the index learns of such files only when it has to. */
  deferRecords(): Disposable {
    return this.#parts.ledger.deferRecords();
  }

  /**
   * Brings all of an image that is not here, behind whatever somebody waits for. It may be stopped at
   * any time, and goes on from there when it is begun again.
   * @throws ThinError `no-space` if there is no room beside what is mounted; `not-found`; `canceled`;
   *   whatever the origin throws
   */
  completeImage(options: CompletionOptions): Promise<CompletionProgress> {
    return new ImageCompletion(this.#parts, this.#index, options).run();
  }

  /** Leaves `bytes` of its disk to others, as far as what may go takes as much. Never fails. */
  giveBack(bytes: number): Promise<void> {
    return this.#parts.ledger.giveBack(bytes);
  }

  /** What came beside what was read goes to the disk now. */
  keepLearned(origin: FileOrigin): Promise<void> {
    return this.#parts.flights.keepLearned(origin);
  }

  /** Brings what will be read soon, ahead of those who will read it. */
  prefetch(options: PrefetchOptions): RangePrefetch {
    return new RangePrefetch(this.#parts, options);
  }

  /** True if all files of an image that was mounted, remembered or pinned are known to be here. */
  async isComplete(image: string): Promise<boolean> {
    await this.#parts.ledger.flush();
    return this.#index.call('isComplete', image);
  }

  /** The image is mounted once more, by this process: its files leave only for want of space. */
  mountImage(image: string, files: ListedFiles): Promise<void> {
    const { shared, images } = this.#parts;
    if (!shared) return images.mount(image, files);
    const listed = [...files];
    shared.mounted(image, listed);
    return images.mount(image, listed);
  }

  async unmountImage(image: string): Promise<void> {
    await this.#parts.images.unmount(image);
    void this.#parts.ledger.evict();
  }

  /** Makes the image's files known without keeping them: garbage collection goes by it. */
  rememberImage(image: string, files: Iterable<FileRef>): Promise<void> {
    return this.#parts.images.remember(image, files);
  }

  /** Keeps all files of a pulled image, those of its metadata image in the root; durable after this. */
  pinImage(image: string, files: ListedFiles, metadata: string): Promise<void> {
    return pinImage(this.#parts, image, files, metadata);
  }

  async unpinImage(image: string): Promise<void> {
    await this.#parts.images.unpin(image);
    void this.#parts.ledger.evict();
  }

  /** Images that are kept for good. */
  pinnedImages(): Promise<string[]> {
    return this.#index.call('pinnedImages');
  }

  /** Mounts on record, also those of daemons that have died: their mounts may live on. */
  leases(): Promise<OwnedLease[]> {
    return this.#parts.images.leases();
  }

  /** The mounts of a dead daemon are known to be gone. */
  releaseLease(lease: MountLease): Promise<void> {
    return this.#parts.images.release(lease);
  }

  usage(): Promise<CacheUsage> {
    return cacheUsage(this.#parts, this.#index);
  }

  /** Forgets images that are neither kept nor mounted by a living process, and their files. */
  async gc({ keepImages }: { readonly keepImages: Iterable<string> }): Promise<GcResult> {
    const { ledger, upkeep } = this.#parts;
    const keep = [...keepImages];
    const images: string[] = [];
    let bytes = 0;
    // Of a full disk the index learns what came last only when something has gone.
    for (;;) {
      await ledger.refresh();
      ledger.forgetRecentUse();
      const pass = await upkeep.gc(keep);
      images.push(...pass.images);
      bytes += pass.bytes;
      if (pass.bytes === 0) return { images, bytes };
    }
  }

  /**
   * Reads all complete files again, and removes those that are wrong.
   * @param onProgress told the bytes read so far, of `usage().bytes` at most
   */
  async verify(signal: AbortSignal, onProgress?: (bytes: number) => void): Promise<VerifyResult> {
    const { upkeep, ledger, scrubber } = this.#parts;
    await upkeep.settled();
    await ledger.refresh();
    return scrubber.verify(signal, onProgress);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#dispose();
    return this.#disposed;
  }

  async #dispose(): Promise<void> {
    const { ahead, flights, copies, keeper, upkeep, scrubber } = this.#parts;
    const { images, partials, ledger, files } = this.#parts;
    ahead[Symbol.dispose]();
    flights.abortAll(closed());
    await Promise.all([flights.settled(), copies[Symbol.asyncDispose]()]);
    await keeper.settled();
    await scrubber[Symbol.asyncDispose]();
    await upkeep[Symbol.asyncDispose]();
    await images[Symbol.asyncDispose]();
    await partials.close();
    await ledger[Symbol.asyncDispose]();
    files.close();
    this.#lock[Symbol.dispose]();
  }
}

function closed(): ThinError {
  return new ThinError('canceled', 'Cannot read file: the cache is closed');
}
