import type { Database } from 'better-sqlite3';
import { digestFromBytes } from '../digest.js';
import type { IndexedFile } from './index-files.js';
import { getState } from './index-schema.js';

/** How a file is needed: by an image that cannot be fetched again, by a live mount, by neither. */
export type Standing = 'pinned' | 'mounted' | 'free';

/** A file that eviction may look at, and where it stands in the order of use. */
export interface EvictionCandidate extends IndexedFile {
  readonly standing: Standing;
  readonly used: number;
  readonly id: number;
}

/** A place in the order of use. */
export interface UsePosition {
  readonly used: number;
  readonly id: number;
}

interface CandidateRow {
  readonly id: number;
  readonly kind: number;
  readonly name: Buffer;
  readonly tier: string;
  readonly digest: Buffer;
  readonly size: number;
  readonly allocated: number;
  readonly used: number;
  readonly pinned: number | null;
  readonly mounted: number | null;
}

/** The calls about what may leave. */
export function evictionCalls(database: Database) {
  const candidates = database.prepare<[string, number, number, number], CandidateRow>(
    `SELECT files.id, kind, iif(kind = 0, digest, name) AS name, tier, digest, size, allocated, files.used,
       (SELECT max(images.pinned) FROM members JOIN images ON images.id = members.image
        WHERE members.content = files.content) AS pinned,
       (SELECT 1 FROM members JOIN leases ON leases.image = members.image
        WHERE members.content = files.content LIMIT 1) AS mounted
     FROM files JOIN contents ON contents.id = files.content
     WHERE tier = ? AND (files.used, files.id) > (?, ?) ORDER BY files.used, files.id LIMIT ?`,
  );
  const orphans = database.prepare<[string, number, number, number], CandidateRow>(
    `SELECT files.id, kind, iif(kind = 0, digest, name) AS name, tier, digest, size, allocated, used, 0 AS pinned, 0 AS mounted
     FROM files JOIN contents ON contents.id = files.content
     WHERE tier = ? AND (used, files.id) > (?, ?)
       AND NOT EXISTS (SELECT 1 FROM members WHERE members.content = files.content)
     ORDER BY used, files.id LIMIT ?`,
  );
  const unlisted = database
    .prepare(
      'SELECT 1 FROM images JOIN leases ON leases.image = images.id WHERE complete = 0 LIMIT 1',
    )
    .pluck();

  const standingOf = (row: CandidateRow, known: boolean): Standing => {
    if (row.pinned === 1 && row.kind === 0) return 'pinned';
    return row.mounted === 1 || !known ? 'mounted' : 'free';
  };

  return {
    /** Files of a tier from the least recently used on. While a mount's files are not all known, any may be its. */
    candidates: (tier: string, after: UsePosition, limit: number): EvictionCandidate[] => {
      const known = getState(database, 'known') === 1 && unlisted.get() === undefined;
      return candidates
        .all(tier, after.used, after.id, limit)
        .map((row) => toCandidate(row, standingOf(row, known)));
    },

    /** Files of a tier and of no image that is known, from the least recently used on. */
    orphans: (tier: string, after: UsePosition, limit: number): EvictionCandidate[] =>
      orphans.all(tier, after.used, after.id, limit).map((row) => toCandidate(row, 'free')),
  };
}

function toCandidate(row: CandidateRow, standing: Standing): EvictionCandidate {
  return {
    id: row.id,
    kind: row.kind === 0 ? 'complete' : 'partial',
    name: row.name.toString('hex'),
    tier: row.tier,
    content: digestFromBytes(row.digest),
    size: row.size,
    allocated: row.allocated,
    used: row.used,
    standing,
  };
}
