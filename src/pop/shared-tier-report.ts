/** What a node has done with the shared tier since it was started. */
export interface SharedTierCounts {
  /** Reads that it answered, with their bytes. */
  reads: number;
  bytes: number;
  /** Reads of files that it has not got, that were late, and of wrong files. */
  absent: number;
  late: number;
  wrong: number;
  /** Files that this node has put there, with their bytes, and what it could not put. */
  stored: number;
  storedBytes: number;
  failures: number;
  /** Images whose files this node has removed for want of room, with the bytes of these. */
  evicted: number;
  evictedBytes: number;
}

export interface SharedTierReport {
  readonly directory: string;
  /** Bytes that may be there; null: no limit. And those that were, at the last look of this node. */
  readonly quotaBytes: number | null;
  readonly foundBytes: number | null;
  readonly direct: boolean;
  /** Why it is not used now; null while it is. */
  readonly away: string | null;
  readonly counts: SharedTierCounts;
  /** Files that wait to be put there. */
  readonly waiting: number;
}
