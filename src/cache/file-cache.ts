/*
 * src/cache: the files of images on this node's disk. It knows chunks, frames and digests; it never
 * learns of registries, FUSE or mounts: who needs its files tells it so, and FileOrigin is all it
 * knows of where bytes come from. layout.ts shows the directory; one read is followed in
 * file-reader.ts; what survives a power cut, and why, is told in syncer.ts and index-recovery.ts.
 */
import type { Digest } from '../digest.js';
import { ThinError } from '../errors.js';
import { type CacheCounters, CacheLedger, type CacheLog } from './cache-ledger.js';
import { CacheUpkeep, type GcResult, type VerifyResult } from './cache-upkeep.js';
import { CachedImages, type OwnedLease } from './cached-images.js';
import { type Disk, nodeDisk } from './disk.js';
import type { FileOrigin, FileRef } from './file-origin.js';
import { FileReader } from './file-reader.js';
import type { FileHold } from './file-use.js';
import { FileWriter } from './file-writer.js';
import { FrameFlights } from './frame-flights.js';
import { FrameKeeper } from './frame-keeper.js';
import { GuardedDisk } from './guarded-disk.js';
import type { IndexStart } from './index-calls.js';
import type { ImageUsage, MountLease } from './index-images.js';
import { type CacheIndex, IndexThread } from './index-thread.js';
import { type CacheLayout, cacheLayout, prepareRoot, removeIncoming } from './layout.js';
import { PartialFiles } from './partial-files.js';
import type { PartialViewEvents } from './partial-view.js';
import { type ReadPolicy, ReadsInFlight } from './reads-in-flight.js';
import { RootLock } from './root-lock.js';
import type { SpaceLimits } from './space-budget.js';
import { TierFiles } from './tier-files.js';

export interface CacheOptions extends SpaceLimits, PartialViewEvents {
  /** Directory of our own; made if it is missing. */
  readonly root: string;
  readonly log: CacheLog;
  readonly reads?: ReadPolicy;
  /** The real disk if not given. */
  readonly disk?: Disk;
  /** How the index is opened: in a thread of its own if not given. */
  readonly openIndex?: (layout: CacheLayout) => Promise<CacheIndex>;
}

export interface CacheUsage extends SpaceLimits, CacheCounters {
  /** Bytes of disk that cached files take. */
  readonly bytes: number;
  readonly completeFiles: number;
  readonly partialFiles: number;
  /** Frames that arrived with other bytes than the image says. */
  readonly wrongFrames: number;
  /** False while the cache's disk fails and is left alone. */
  readonly diskWorks: boolean;
  readonly images: readonly ImageUsage[];
}

interface Opened {
  readonly layout: CacheLayout;
  readonly lock: RootLock;
  readonly index: CacheIndex;
  readonly start: IndexStart;
}

/**
 * The files of all images on this node: complete ones in a tier under their digest, large ones being
 * filled, an index of both. What is missing is fetched from the image's origin, verified, given to
 * the read, and kept. A disk that is full or fails never fails a read that the origin can answer.
 */
export class FileCache implements AsyncDisposable {
  /** The tier's directory: `xx/<64 hex>` below it are complete files. */
  readonly tierDirectory: string;
  /** The reads that wait for something now. */
  readonly reads: ReadsInFlight;
  readonly #lock: RootLock;
  readonly #index: CacheIndex;
  readonly #disk: GuardedDisk;
  readonly #tier: TierFiles;
  readonly #partials: PartialFiles;
  readonly #ledger: CacheLedger;
  readonly #keeper: FrameKeeper;
  readonly #flights: FrameFlights;
  readonly #reader: FileReader;
  readonly #images: CachedImages;
  readonly #upkeep: CacheUpkeep;
  #disposed: Promise<void> | undefined;

  /**
   * @throws ThinError `busy` if another process has the root; `denied` or `invalid` if the root is
   *   not a directory that is ours alone
   */
  static async open(options: CacheOptions): Promise<FileCache> {
    const layout = cacheLayout(options.root);
    prepareRoot(layout);
    const lock = RootLock.take(layout);
    let index: CacheIndex | undefined;
    try {
      removeIncoming(layout);
      index = await (options.openIndex ?? IndexThread.open)(layout);
      const start = await index.call('start');
      const cache = new FileCache(options, { layout, lock, index, start });
      cache.#begin(start, options.log);
      return cache;
    } catch (error) {
      await index?.stop();
      lock[Symbol.dispose]();
      throw error;
    }
  }

  private constructor(options: CacheOptions, { layout, lock, index, start }: Opened) {
    const { log } = options;
    this.tierDirectory = layout.tier;
    this.reads = new ReadsInFlight(options.reads ?? {});
    this.#lock = lock;
    this.#index = index;
    this.#disk = new GuardedDisk(options.disk ?? nodeDisk, (down, why) => {
      log.warn({ why }, down ? 'cache disk fails, going on without it' : 'cache disk is back');
    });
    this.#tier = new TierFiles(this.#disk, layout, start.suspects, (file) =>
      this.#ledger.completed(file),
    );
    this.#partials = new PartialFiles(this.#disk, layout.partial, options);
    this.#ledger = this.#openLedger(options, layout, start);
    this.#keeper = new FrameKeeper(this.#tier, this.#partials, this.#ledger);
    this.#flights = new FrameFlights(this.#keeper.keepFrame);
    this.#reader = new FileReader(
      this.#tier,
      this.#partials,
      this.#flights,
      this.#keeper,
      this.#ledger,
    );
    const failed = (error: unknown) => this.#ledger.failed(error);
    this.#images = new CachedImages(index, () => this.#ledger.sync(), failed);
    this.#upkeep = new CacheUpkeep({
      layout,
      tier: this.#tier,
      index,
      evictor: this.#ledger.evictor,
      images: this.#images,
      wrong: (content) => this.#ledger.wrong(content),
      failed,
    });
  }

  /** Begins the work in the background. */
  #begin(start: IndexStart, log: CacheLog): void {
    this.#ledger.evictor.start();
    if (!start.suspects) return;
    log.info({ state: start.state }, 'cache was not closed in order, verifying what may be torn');
    this.#upkeep.settleSuspects();
  }

  #openLedger(options: CacheOptions, layout: CacheLayout, start: IndexStart): CacheLedger {
    const { quotaBytes, freeSpaceFloorBytes, log } = options;
    return new CacheLedger({
      root: layout.root,
      limits: { quotaBytes, freeSpaceFloorBytes },
      disk: this.#disk,
      index: this.#index,
      log,
      totals: start.totals,
      files: {
        busy: ({ kind, name, content }) =>
          kind === 'partial' ? this.#partials.busy(name) : this.#tier.busy(content),
        remove: (kind, name, content) =>
          kind === 'partial' ? this.#partials.remove(name) : this.#tier.remove(content),
      },
    });
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
    this.#ledger.used(file.content);
    return this.reads.run({ ...file, offset, length, origin }, signal, (limited) =>
      this.#reader.read(file, offset, length, origin, limited),
    );
  }

  /** Where the complete file is or would be; see also `tierPath` of layout.ts. */
  pathOf(content: Digest): string {
    return this.#tier.path(content);
  }

  /** True if the whole file is here. */
  has(content: Digest): Promise<boolean> {
    return this.#tier.has(content);
  }

  /** Files that were opened by path, by somebody who does not go through `read`. */
  touch(contents: Iterable<Digest>): void {
    for (const content of contents) {
      this.#ledger.used(content);
      this.#upkeep.verifyFirstUse(content);
    }
  }

  /** Keeps what is added to it from eviction until it is disposed. */
  hold(): FileHold {
    return this.#ledger.hold();
  }

  /** For a file whose digest is not known yet; what it commits is added to `hold`. */
  fileWriter(hold: FileHold): FileWriter {
    return new FileWriter(this.#tier, this.#disk, hold, this.#ledger);
  }

  /** The image is mounted once more, by this process: its files leave only for want of space. */
  mountImage(image: string, files: Iterable<FileRef>): Promise<void> {
    return this.#images.mount(image, files);
  }

  async unmountImage(image: string): Promise<void> {
    await this.#images.unmount(image);
    void this.#ledger.evictor.run();
  }

  /** Makes the image's files known without keeping them: garbage collection goes by it. */
  rememberImage(image: string, files: Iterable<FileRef>): Promise<void> {
    return this.#images.remember(image, files);
  }

  /** Keeps all files of an image that was pulled in full; durable when this returns. */
  pinImage(image: string, files: Iterable<FileRef>): Promise<void> {
    return this.#images.pin(image, files);
  }

  async unpinImage(image: string): Promise<void> {
    await this.#images.unpin(image);
    void this.#ledger.evictor.run();
  }

  /** Mounts on record, also those of daemons that have died: their mounts may live on. */
  leases(): Promise<OwnedLease[]> {
    return this.#images.leases();
  }

  /** The mounts of a dead daemon are known to be gone. */
  releaseLease(lease: MountLease): Promise<void> {
    return this.#images.release(lease);
  }

  async usage(): Promise<CacheUsage> {
    await this.#images.listed();
    await this.#ledger.refresh();
    const { bytes, completeFiles, partialFiles } = this.#ledger.totals;
    return {
      ...this.#ledger.budget.limits,
      ...this.#ledger.counters,
      bytes,
      completeFiles,
      partialFiles,
      wrongFrames: this.#flights.wrongFrames,
      diskWorks: !this.#disk.down,
      images: await this.#index.call('imageUsage'),
    };
  }

  /** Forgets images that are neither kept nor mounted by a living process, and their files. */
  async gc({ keepImages }: { readonly keepImages: Iterable<string> }): Promise<GcResult> {
    await this.#ledger.refresh();
    this.#ledger.forgetRecentUse();
    return this.#upkeep.gc(keepImages);
  }

  /** Reads all complete files again, and removes those that are wrong. */
  async verify(signal: AbortSignal): Promise<VerifyResult> {
    await this.#ledger.refresh();
    return this.#upkeep.verify(signal);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#dispose();
    return this.#disposed;
  }

  async #dispose(): Promise<void> {
    this.#flights.abortAll(closed());
    await this.#flights.settled();
    await this.#keeper.settled();
    await this.#upkeep[Symbol.asyncDispose]();
    await this.#images[Symbol.asyncDispose]();
    await this.#partials.close();
    await this.#ledger[Symbol.asyncDispose]();
    this.#tier.close();
    this.#lock[Symbol.dispose]();
  }
}

function closed(): ThinError {
  return new ThinError('canceled', 'Cannot read file: the cache is closed');
}
