import type { SharedTierReport } from '../pop/shared-tier-report.js';
import type { AddMetric } from './metrics.js';
import type { NodeView } from './node-view.js';

/** What a node counts of the folder that it shares with others; nothing where there is none. */
export function addSharedTier(add: AddMetric, view: Pick<NodeView, 'sharedTier'>): void {
  const one = (value: (report: SharedTierReport) => number) => () => {
    const report = view.sharedTier;
    return report ? [[{}, value(report)] as const] : [];
  };
  const here = one(({ away }) => (away === null ? 1 : 0));
  add('gauge', 'thinfs_shared_tier_here', '0 while the shared tier is not used', here);
  const bytes = one(({ counts }) => counts.bytes);
  add('counter', 'thinfs_shared_tier_read_bytes_total', 'Bytes that it answered with', bytes);
  const absent = one(({ counts }) => counts.absent);
  add('counter', 'thinfs_shared_tier_absent_total', 'Reads of files it has not got', absent);
  const late = one(({ counts }) => counts.late);
  add('counter', 'thinfs_shared_tier_late_total', 'Reads it did not answer in time', late);
  const wrong = one(({ counts }) => counts.wrong);
  add('counter', 'thinfs_shared_tier_wrong_total', 'Files in it that were wrong', wrong);
  const stored = one(({ counts }) => counts.storedBytes);
  add('counter', 'thinfs_shared_tier_stored_bytes_total', 'Bytes put there by this node', stored);
  const evicted = one(({ counts }) => counts.evictedBytes);
  add('counter', 'thinfs_shared_tier_evicted_bytes_total', 'Bytes this node made leave', evicted);
  const failures = one(({ counts }) => counts.failures);
  add('counter', 'thinfs_shared_tier_failures_total', 'What it could not do', failures);
}
