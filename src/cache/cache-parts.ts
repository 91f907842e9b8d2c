import { CacheLedger } from './cache-ledger.js';
import { CacheUpkeep } from './cache-upkeep.js';
import { CachedImages } from './cached-images.js';
import { ChunkCopier } from './chunk-copier.js';
import { nodeDisk } from './disk.js';
import type { CacheOptions } from './file-cache.js';
import { FileMover } from './file-mover.js';
import { FileReader } from './file-reader.js';
import { FrameFlights } from './frame-flights.js';
import { FrameKeeper } from './frame-keeper.js';
import { GuardedDisk } from './guarded-disk.js';
import type { IndexStart } from './index-calls.js';
import type { CacheIndex } from './index-thread.js';
import type { CacheLayout } from './layout.js';
import { NearChunks } from './near-chunks.js';
import { PartialFiles } from './partial-files.js';
import { ReadAhead } from './read-ahead.js';
import { ReadsInFlight } from './reads-in-flight.js';
import { Scrubber } from './scrubber.js';
import { SharedCopies } from './shared-copies.js';
import type { SharedFiles } from './shared-files.js';
import { Tier } from './tier.js';
import { TierFiles } from './tier-files.js';

/** What a cache is made of; each is told its part of what happens, and none knows the whole. */
export interface CacheParts {
  /** Of the tiers, in their order. */
  readonly disks: readonly GuardedDisk[];
  readonly files: TierFiles;
  readonly partials: PartialFiles;
  readonly ledger: CacheLedger;
  readonly keeper: FrameKeeper;
  readonly flights: FrameFlights;
  readonly near: NearChunks;
  readonly copier: ChunkCopier;
  readonly shared: SharedFiles | undefined;
  readonly copies: SharedCopies;
  readonly ahead: ReadAhead;
  readonly reader: FileReader;
  readonly images: CachedImages;
  readonly upkeep: CacheUpkeep;
  readonly mover: FileMover;
  readonly scrubber: Scrubber;
  readonly reads: ReadsInFlight;
}

/** Makes the parts of a cache whose directories are prepared and locked, and whose index is open. */
export function cacheParts(
  options: CacheOptions,
  layout: CacheLayout,
  index: CacheIndex,
  start: IndexStart,
): CacheParts {
  const disks = layout.tiers.map(({ name }) => guard(options, name));
  const tiers = layout.tiers.map(
    (tier, at) => new Tier(disks[at] ?? guard(options, tier.name), tier),
  );
  for (const tier of tiers) tier.openPlace();
  const files = new TierFiles(tiers, start.suspects, {
    settled: (file, tier) => ledger.completed(file, { tier }),
    dismissed: (content) => ledger.dismissed(content),
  });
  const partials = new PartialFiles(files.local.disk, layout.partial, options);
  const ledger = openLedger(options, index, start, files, partials);
  const failed = (error: unknown) => ledger.failed(error);
  const keeper = new FrameKeeper(files, partials, ledger, options.shared);
  const flights = new FrameFlights(keeper.keepFrame);
  const copies = new SharedCopies(files, partials, ledger, options.shared);
  const near = new NearChunks(files, partials, ledger);
  const copier = new ChunkCopier(near, keeper, { shared: options.shared, copies });
  const ahead = new ReadAhead(flights, ledger);
  const reads = new ReadsInFlight(options.reads ?? {});
  const images = new CachedImages(index, () => ledger.sync(), failed);
  return {
    disks,
    files,
    partials,
    ledger,
    keeper,
    flights,
    images,
    near,
    copier,
    shared: options.shared,
    copies,
    ahead,
    reader: new FileReader({ files, partials, flights, keeper, copier, copies, ahead }, ledger),
    mover: new FileMover(files, ledger),
    reads,
    scrubber: new Scrubber(files, index, {
      idle: () => reads.list().length === 0,
      wrong: (content) => ledger.wrong(content),
      failed,
    }),
    upkeep: new CacheUpkeep({
      layout,
      tier: files,
      index,
      spaces: ledger.spaces,
      images,
      sync: () => ledger.sync(),
      wrong: (content) => ledger.wrong(content),
      failed,
    }),
  };
}

/** Each tier has a guard of its own: one disk that hangs leaves the others alone. */
function guard({ disk = nodeDisk, log }: CacheOptions, tier: string): GuardedDisk {
  return new GuardedDisk(disk, (down, why) => {
    log.warn({ why, tier }, down ? 'cache disk fails, going on without it' : 'cache disk is back');
  });
}

function openLedger(
  options: CacheOptions,
  index: CacheIndex,
  start: IndexStart,
  files: TierFiles,
  partials: PartialFiles,
): CacheLedger {
  const { tiers = [], log } = options;
  return new CacheLedger({
    tiers: files.tiers.map((tier) => {
      const { quotaBytes, freeSpaceFloorBytes } =
        tiers.find(({ name }) => name === tier.name) ?? options;
      return { tier, limits: { quotaBytes, freeSpaceFloorBytes } };
    }),
    index,
    log,
    totals: start.totals,
    onWrong: options.onWrong,
    onMountedEvicted: options.onMountedEvicted,
    files: {
      busy: ({ kind, name, content }) =>
        kind === 'partial' ? partials.busy(name) : files.busy(content),
      remove: (kind, name, content, tier) => {
        if (kind === 'partial') return partials.remove(name);
        return files.remove(content, tier === undefined ? files.tiers : [files.tier(tier)]);
      },
    },
  });
}
