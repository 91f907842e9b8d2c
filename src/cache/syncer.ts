import type { Disk } from './disk.js';
import type { CacheIndex } from './index-thread.js';

/** Bytes of new files, and milliseconds, after which what is new is made durable. */
const bytesMax = 256 * 1024 * 1024;
const syncMs = 30_000;

/** A directory whose file system is synced. */
export interface SyncedTier {
  readonly disk: Disk;
  readonly directory: string;
}

/**
 * Makes new files durable now and then. A lazy start writes thousands of small files: syncing each
 * before its rename would make the disk the bottleneck, so they are synced together, and recorded as
 * durable after that. What is not so recorded is verified after an unclean stop (index-recovery.ts).
 */
export class Syncer implements AsyncDisposable {
  readonly #tiers: readonly SyncedTier[];
  readonly #index: CacheIndex;
  readonly #flush: () => Promise<void>;
  readonly #onFailure: (error: unknown) => void;
  #bytes = 0;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<boolean> | undefined;

  /** @param flush records in the index all that was placed */
  constructor(
    tiers: readonly SyncedTier[],
    index: CacheIndex,
    flush: () => Promise<void>,
    onFailure: (error: unknown) => void,
  ) {
    this.#tiers = tiers;
    this.#index = index;
    this.#flush = flush;
    this.#onFailure = onFailure;
  }

  placed(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes > bytesMax) void this.sync();
    else this.#timer ??= setTimeout(() => void this.sync(), syncMs).unref();
  }

  /** Makes durable what was placed before this call. Never fails; true if it worked. */
  async sync(): Promise<boolean> {
    await this.#running; // began too early for what was placed since
    this.#running ??= this.#sync().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #sync(): Promise<boolean> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#bytes = 0;
    try {
      await this.#flush();
      const point = await this.#index.call('syncPoint');
      for (const { disk, directory } of this.#tiers) await disk.sync(directory);
      await this.#index.call('markDurable', point);
      return true;
    } catch (error) {
      this.#onFailure(error);
      return false;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer);
    await this.#running;
  }
}
