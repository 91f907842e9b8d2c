import type { Digest } from '../digest.js';
import { type Disk, nodeDisk } from './disk.js';
import type { FileOrigin, FileRef } from './file-origin.js';
import { FileReader } from './file-reader.js';
import { FrameFlights } from './frame-flights.js';
import { FrameKeeper } from './frame-keeper.js';
import { GuardedDisk } from './guarded-disk.js';
import { type CacheLayout, cacheLayout, prepareRoot, removeIncoming } from './layout.js';
import { PartialFiles } from './partial-files.js';
import { RootLock } from './root-lock.js';
import { TierFiles } from './tier-files.js';

export interface CacheOptions {
  /** Directory of our own; made if it is missing. */
  readonly root: string;
  /** Bytes of disk that cached files may occupy. */
  readonly quotaBytes: number;
  /** Bytes that stay free on the cache's file system. */
  readonly freeSpaceFloorBytes: number;
  readonly log: CacheLog;
  /** The real disk if not given. */
  readonly disk?: Disk;
}

/** What the cache says; pino's logger is one. */
export interface CacheLog {
  info(details: object, message: string): void;
  warn(details: object, message: string): void;
}

/** The files of all images on this node. */
export class FileCache implements AsyncDisposable {
  readonly #lock: RootLock;
  readonly #tier: TierFiles;
  readonly #partials: PartialFiles;
  readonly #flights: FrameFlights;
  readonly #reader: FileReader;

  static async open(options: CacheOptions): Promise<FileCache> {
    const layout = cacheLayout(options.root);
    prepareRoot(layout);
    const lock = RootLock.take(layout);
    removeIncoming(layout);
    return new FileCache(options, layout, lock);
  }

  private constructor(options: CacheOptions, layout: CacheLayout, lock: RootLock) {
    const { log } = options;
    this.#lock = lock;
    const disk = new GuardedDisk(options.disk ?? nodeDisk, (down, why) => {
      log.warn({ why }, down ? 'cache disk fails, going on without it' : 'cache disk is back');
    });
    const failed = (error: unknown) => log.warn({ error }, 'cannot keep or read cached bytes');
    this.#tier = new TierFiles(disk, layout, true);
    this.#partials = new PartialFiles(disk, layout.partial);
    const keeper = new FrameKeeper(this.#tier, this.#partials, {
      admit: () => true,
      completed: () => undefined,
      promoted: () => undefined,
      filled: () => undefined,
      failed,
    });
    this.#flights = new FrameFlights(keeper.keepFrame);
    this.#reader = new FileReader(this.#tier, this.#partials, this.#flights, keeper, {
      findCopies: async () => [],
      wrong: (content) => this.#tier.remove(content),
      failed,
    });
  }

  /** Bytes `offset` to `offset + length` of a file, fewer where it ends before. */
  read(
    file: FileRef,
    offset: number,
    length: number,
    origin: FileOrigin,
    signal: AbortSignal,
  ): Promise<Buffer> {
    return this.#reader.read(file, offset, length, origin, signal);
  }

  pathOf(content: Digest): string {
    return this.#tier.path(content);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#flights.settled();
    await this.#partials.close();
    this.#tier.close();
    this.#lock[Symbol.dispose]();
  }
}
