import type { Database } from 'better-sqlite3';

/** A content on record. */
export interface FoundContent {
  readonly id: number;
  /** It was not on record until now: nothing refers to it yet. */
  readonly isNew: boolean;
}

/** The contents that the index knows, by their digests. */
export interface Contents {
  find(digest: Buffer): number | undefined;
  findOrAdd(digest: Buffer, size: number): FoundContent;
}

export function contentsOf(database: Database): Contents {
  const known = database
    .prepare<[Buffer, Buffer], number>(
      'SELECT id FROM contents WHERE substr(digest, 1, 6) = substr(?, 1, 6) AND digest = ?',
    )
    .pluck();
  const add = database.prepare<[Buffer, number]>(
    'INSERT INTO contents (digest, size) VALUES (?, ?)',
  );
  const find = (digest: Buffer) => known.get(digest, digest);
  return {
    find,
    findOrAdd: (digest, size) => {
      const id = find(digest);
      if (id !== undefined) return { id, isNew: false };
      return { id: Number(add.run(digest, size).lastInsertRowid), isNew: true };
    },
  };
}
