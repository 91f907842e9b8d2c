import type { Database } from 'better-sqlite3';
import { type Digest, digestBytes, digestFromBytes } from '../digest.js';
import type { FileRef } from './file-origin.js';
import { type ChunkPlaces, chunkCalls } from './index-chunks.js';
import { contentsOf } from './index-contents.js';
import { durably, getState, setState } from './index-schema.js';

export type FileKind = 'complete' | 'partial';

/** A file on the disk. `name`: 64 hex digits, of the content or of the partial file's key. */
export interface IndexedFile extends FileRef {
  readonly kind: FileKind;
  readonly name: string;
  /** Whose space it takes; partial files are of the local tier. */
  readonly tier: string;
  /** Bytes of disk. */
  readonly allocated: number;
}

/** A moment: the files on record then, and milliseconds since 1970. */
export interface SyncPoint {
  readonly lastId: number;
  readonly now: number;
}

/** What happened since the last changes, in any order that keeps a name in one list only. */
export interface IndexChanges {
  readonly placed: readonly IndexedFile[];
  readonly removed: readonly Pick<IndexedFile, 'kind' | 'name'>[];
  readonly touched: readonly Digest[];
  readonly chunks: readonly ChunkPlaces[];
}

export interface IndexTotals {
  readonly bytes: number;
  readonly completeFiles: number;
  readonly partialFiles: number;
  /** Bytes by tier. */
  readonly tiers: Readonly<Record<string, number>>;
}

/** Of complete files in the tables: it is their content's digest. */
const noName = Buffer.alloc(0);
const kindNumbers = { complete: 0, partial: 1 } as const;

interface SumRow {
  readonly tier: string;
  readonly kind: number;
  readonly files: number;
  readonly bytes: number;
}

/** The calls about files and chunks. */
export function fileCalls(database: Database) {
  const contents = contentsOf(database);
  const addFile = database.prepare<[number, Buffer, string, number, number, number, number]>(
    `INSERT INTO files (kind, name, tier, content, allocated, used, verified)
     VALUES (?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (content, name) DO UPDATE SET allocated = excluded.allocated, used = excluded.used`,
  );
  const dropComplete = database.prepare<[number]>(
    "DELETE FROM files WHERE content = ? AND name = x''",
  );
  const dropPartial = database
    .prepare<[Buffer], number>('DELETE FROM files WHERE kind = 1 AND name = ? RETURNING content')
    .pluck();
  const dropChunks = database.prepare<{ content: unknown }>(
    `DELETE FROM chunks WHERE content = @content
       AND NOT EXISTS (SELECT 1 FROM files WHERE files.content = @content)`,
  );
  const touch = database.prepare<[number, number]>('UPDATE files SET used = ? WHERE content = ?');
  const sums = database.prepare<[], SumRow>('SELECT * FROM sums');
  const chunks = chunkCalls(database);

  const place = (file: IndexedFile, sequence: number): void => {
    const { kind, tier, allocated, size } = file;
    const { id } = contents.findOrAdd(digestBytes(file.content), size);
    const name = kind === 'complete' ? noName : Buffer.from(file.name, 'hex');
    // A complete file that is placed anew is another one, and not durable yet.
    if (kind === 'complete') dropComplete.run(id);
    addFile.run(kindNumbers[kind], name, tier, id, allocated, sequence, Date.now() + 1);
  };

  /** @returns its content, if it was on record */
  const drop = ({ kind, name }: IndexChanges['removed'][number]): number | undefined => {
    const bytes = Buffer.from(name, 'hex');
    if (kind === 'partial') return dropPartial.get(bytes);
    const content = contents.find(bytes);
    if (content !== undefined) dropComplete.run(content);
    return content;
  };

  const apply = database.transaction((changes: IndexChanges): void => {
    const sequence = getState(database, 'sequence') + 1;
    setState(database, 'sequence', sequence);
    const gone = changes.removed.map(drop);
    for (const file of changes.placed) place(file, sequence);
    // A partial file that has become complete keeps its chunks.
    for (const content of gone) if (content !== undefined) dropChunks.run({ content });
    for (const touched of changes.touched) {
      const content = contents.find(digestBytes(touched));
      if (content !== undefined) touch.run(sequence, content);
    }
    for (const places of changes.chunks) chunks.addChunks(places);
  });

  const totals = (): IndexTotals => {
    const all = sums.all();
    const files = (kind: FileKind) =>
      all.reduce((sum, row) => sum + (row.kind === kindNumbers[kind] ? row.files : 0), 0);
    const tiers: Record<string, number> = {};
    for (const { tier, bytes } of all) tiers[tier] = (tiers[tier] ?? 0) + bytes;
    return {
      bytes: all.reduce((sum, { bytes }) => sum + bytes, 0),
      completeFiles: files('complete'),
      partialFiles: files('partial'),
      tiers,
    };
  };

  return {
    /** Records what happened, in one transaction. */
    apply: (changes: IndexChanges): IndexTotals => {
      apply(changes);
      return totals();
    },

    totals,

    findChunks: chunks.findChunks,

    /** Files up to `lastId` were recorded until `now`: what is synced after this is durable. */
    syncPoint: (): SyncPoint => {
      const id = database.prepare('SELECT max(id) FROM files').pluck().get();
      return { lastId: typeof id === 'number' ? id : 0, now: Date.now() + 1 };
    },

    markDurable: ({ lastId, now }: SyncPoint): void => {
      durably(database, () => {
        database
          .prepare('UPDATE files SET durable = ? WHERE durable = 0 AND id <= ?')
          .run(now, lastId);
      });
    },

    /** Complete files that were last verified before a time (ms since 1970), the oldest first. */
    unverified: (before: number, limit: number): FileRef[] =>
      database
        .prepare<[number, number], { digest: Buffer; size: number }>(
          `SELECT contents.digest, contents.size FROM files JOIN contents ON contents.id = files.content
           WHERE files.kind = 0 AND files.verified < ? ORDER BY files.verified LIMIT ?`,
        )
        .all(before, limit)
        .map((row) => ({ content: digestFromBytes(row.digest), size: row.size })),

    markVerified: database.transaction((verified: readonly Digest[]): void => {
      const mark = database.prepare<[number, number]>(
        "UPDATE files SET verified = ? WHERE content = ? AND name = x''",
      );
      for (const digest of verified) {
        const content = contents.find(digestBytes(digest));
        if (content !== undefined) mark.run(Date.now(), content);
      }
    }),

    /** Complete files by name, a page at a time. */
    completeFiles: (after: string, limit: number): FileRef[] => {
      const last = Buffer.from(after, 'hex');
      return database
        .prepare<[Buffer, Buffer, number], { digest: Buffer; size: number }>(
          `SELECT digest, size FROM contents INDEXED BY contents_by_digest
           CROSS JOIN files ON files.content = contents.id AND files.name = x''
           WHERE substr(digest, 1, 6) >= ? AND digest > ?
           ORDER BY substr(digest, 1, 6), digest LIMIT ?`,
        )
        .all(last.subarray(0, 6), last, limit)
        .map((row) => ({ content: digestFromBytes(row.digest), size: row.size }));
    },
  };
}
