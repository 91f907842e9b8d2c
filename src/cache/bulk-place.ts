import { type BulkPlace, BulkWriter } from './bulk-writer.js';
import type { CacheParts } from './cache-parts.js';
import type { FileHold } from './file-use.js';
import { localTier } from './layout.js';

/** A tier that is looked at before the local one. */
export interface FastTier {
  readonly name: string;
  /** That would be admitted now. */
  readonly roomBytes: number;
}

/** @see FileCache.fastTier */
export function fastTier({ ledger }: CacheParts): FastTier | undefined {
  const [{ tier, budget } = ledger.space(localTier)] = ledger.spaces;
  return tier.name === localTier ? undefined : { name: tier.name, roomBytes: budget.roomBytes };
}

/** @see FileCache.bulkPlace */
export function bulkPlace({ files, ledger }: CacheParts, tier: string): BulkPlace {
  const { directory, incoming } = ledger.space(tier).tier;
  const others = files.tiers.filter((other) => other.directory !== directory);
  return { directory, incoming, others: others.map((other) => other.directory) };
}

/** @see FileCache.bulkWriter */
export function bulkWriter(parts: CacheParts, hold: FileHold, tier: string): BulkWriter {
  const { ledger, files } = parts;
  const space = ledger.space(tier);
  return new BulkWriter(bulkPlace(parts, tier), hold, {
    admitEasily: (bytes) => space.admitEasily(bytes),
    reserve: (bytes) => space.reserve(bytes),
    written: (bytes) => space.written(bytes),
    verified: (content) => files.verified(content),
    discard: async (content) => {
      if (ledger.inUse(content)) return false;
      await files.remove(content, [space.tier]);
      return true;
    },
    placed: (stored) => ledger.placedMany(tier, stored),
  });
}
