import type { CacheCounters } from './cache-ledger.js';
import type { CacheParts } from './cache-parts.js';
import type { Evicted } from './evictor.js';
import type { ImageUsage } from './index-images.js';
import type { CacheIndex } from './index-thread.js';
import { localTier } from './layout.js';
import type { SpaceLimits } from './space-budget.js';

export interface TierUsage extends SpaceLimits, Readonly<Evicted> {
  readonly name: string;
  /** Complete files lie below it. */
  readonly directory: string;
  /** Bytes of disk that its files take. */
  readonly bytes: number;
  /** False while its disk fails and is left alone. */
  readonly diskWorks: boolean;
}

export interface CacheUsage extends SpaceLimits, CacheCounters {
  /** Bytes of disk that cached files take, of all tiers; the limits are those of `local`. */
  readonly bytes: number;
  readonly tiers: readonly TierUsage[];
  readonly completeFiles: number;
  readonly partialFiles: number;
  /** Frames that arrived with other bytes than the image says. */
  readonly wrongFrames: number;
  /** False while a disk of the cache fails and is left alone. */
  readonly diskWorks: boolean;
  readonly images: readonly ImageUsage[];
}

/** What is here now, after everything that happened before the call. */
export async function cacheUsage(parts: CacheParts, index: CacheIndex): Promise<CacheUsage> {
  const { images, ledger, flights, disks } = parts;
  await images.listed();
  await ledger.refresh();
  const { bytes, completeFiles, partialFiles, tiers } = ledger.totals;
  return {
    ...ledger.space(localTier).budget.limits,
    ...ledger.counters,
    bytes,
    tiers: ledger.spaces.map(({ tier: { name, directory }, budget, evictor }, at) => ({
      name,
      directory,
      ...budget.limits,
      ...evictor.evicted,
      bytes: tiers[name] ?? 0,
      diskWorks: disks[at]?.down !== true,
    })),
    completeFiles,
    partialFiles,
    wrongFrames: flights.wrongFrames,
    diskWorks: disks.every(({ down }) => !down),
    images: await index.call('imageUsage'),
  };
}
