import type { Database } from 'better-sqlite3';
import { type Digest, digestBytes, digestFromBytes } from '../digest.js';
import type { FileRef } from './file-origin.js';
import { durably, getState, setState } from './index-schema.js';

export type FileKind = 'complete' | 'partial';

/** A file on the disk. `name`: 64 hex digits, of the content or of the partial file's key. */
export interface IndexedFile extends FileRef {
  readonly kind: FileKind;
  readonly name: string;
  /** Bytes of disk. */
  readonly allocated: number;
}

/** Where the chunks of a complete file lie, in order. */
export interface FileChunkList {
  readonly content: Digest;
  readonly digests: readonly Digest[];
  /** Offset of each. */
  readonly offsets: readonly number[];
}

/** What happened since the last changes, in any order that keeps a name in one list only. */
export interface IndexChanges {
  readonly placed: readonly IndexedFile[];
  readonly removed: readonly Pick<IndexedFile, 'kind' | 'name'>[];
  readonly touched: readonly Digest[];
  readonly chunks: readonly FileChunkList[];
}

export interface IndexTotals {
  readonly bytes: number;
  readonly completeFiles: number;
  readonly partialFiles: number;
  readonly chunks: number;
}

/** A chunk's place in a complete file. */
export interface ChunkPlace extends FileRef {
  readonly offset: number;
}

export const kindNumbers = { complete: 0, partial: 1 } as const;

interface PlaceRow {
  readonly digest: Buffer;
  readonly size: number;
  readonly offset: number;
}

/** The calls about files and chunks. */
export function fileCalls(database: Database) {
  const addContent = database.prepare<[Buffer, number]>(
    'INSERT INTO contents (digest, size) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING',
  );
  const addFile = database.prepare<[number, Buffer, Buffer, number, number]>(
    `INSERT INTO files (kind, name, content, allocated, used)
     VALUES (?, ?, (SELECT id FROM contents WHERE digest = ?), ?, ?)
     ON CONFLICT (kind, name) DO UPDATE SET allocated = excluded.allocated, used = excluded.used`,
  );
  const dropChunks = database.prepare<[number, Buffer]>(
    'DELETE FROM chunks WHERE file = (SELECT id FROM files WHERE kind = ? AND name = ?)',
  );
  const dropFile = database.prepare<[number, Buffer]>(
    'DELETE FROM files WHERE kind = ? AND name = ?',
  );
  const touch = database.prepare<[number, Buffer]>(
    'UPDATE files SET used = ? WHERE content = (SELECT id FROM contents WHERE digest = ?)',
  );
  const addChunk = database.prepare<[Buffer, number, Buffer]>(
    `INSERT OR REPLACE INTO chunks SELECT ?, id, ? FROM files WHERE kind = 0 AND name = ?`,
  );
  const findChunk = database.prepare<[Buffer], PlaceRow>(
    `SELECT contents.digest, contents.size, chunks.offset FROM chunks
     JOIN files ON files.id = chunks.file JOIN contents ON contents.id = files.content
     WHERE chunks.digest = ?`,
  );
  const findWhole = database.prepare<[Buffer], PlaceRow>(
    `SELECT contents.digest, contents.size, 0 AS offset FROM contents
     JOIN files ON files.content = contents.id AND files.kind = 0 WHERE contents.digest = ?`,
  );
  const sums = database.prepare<[], IndexTotals>(
    `SELECT coalesce(sum(allocated), 0) AS bytes, coalesce(sum(kind = 0), 0) AS completeFiles,
       coalesce(sum(kind = 1), 0) AS partialFiles,
       (SELECT count(*) FROM (SELECT 1 FROM chunks LIMIT 1)) AS chunks FROM files`,
  );

  const drop = (kind: FileKind, name: Buffer): void => {
    dropChunks.run(kindNumbers[kind], name);
    dropFile.run(kindNumbers[kind], name);
  };

  const place = (file: IndexedFile, sequence: number): void => {
    const content = digestBytes(file.content);
    addContent.run(content, file.size);
    const name = Buffer.from(file.name, 'hex');
    // A complete file that is placed anew is another one, and not durable yet.
    if (file.kind === 'complete') drop(file.kind, name);
    addFile.run(kindNumbers[file.kind], name, content, file.allocated, sequence);
  };

  const apply = database.transaction((changes: IndexChanges): void => {
    const sequence = getState(database, 'sequence') + 1;
    setState(database, 'sequence', sequence);
    for (const { kind, name } of changes.removed) drop(kind, Buffer.from(name, 'hex'));
    for (const file of changes.placed) place(file, sequence);
    for (const content of changes.touched) touch.run(sequence, digestBytes(content));
    for (const { content, digests, offsets } of changes.chunks) {
      const name = digestBytes(content);
      for (const [at, digest] of digests.entries()) {
        addChunk.run(digestBytes(digest), offsets[at] ?? 0, name);
      }
    }
  });

  const totals = (): IndexTotals =>
    sums.get() ?? { bytes: 0, completeFiles: 0, partialFiles: 0, chunks: 0 };

  return {
    /** Records what happened, in one transaction. */
    apply: (changes: IndexChanges): IndexTotals => {
      apply(changes);
      return totals();
    },

    totals,

    /** Where complete files have these chunks. */
    findChunks: (digests: readonly Digest[]): (ChunkPlace | undefined)[] =>
      digests.map((digest) => {
        const bytes = digestBytes(digest);
        const row = findChunk.get(bytes) ?? findWhole.get(bytes);
        if (row === undefined) return undefined;
        return { content: digestFromBytes(row.digest), size: row.size, offset: row.offset };
      }),

    /** The id up to which files were recorded; what is synced after this is durable up to it. */
    lastFileId: (): number => {
      const id = database.prepare('SELECT max(id) FROM files').pluck().get();
      return typeof id === 'number' ? id : 0;
    },

    markDurable: (lastId: number): void => {
      durably(database, () => {
        database.prepare('UPDATE files SET durable = 1 WHERE durable = 0 AND id <= ?').run(lastId);
      });
    },

    /** Complete files by name, a page at a time. */
    completeFiles: (after: string, limit: number): FileRef[] =>
      database
        .prepare<[Buffer, number], { digest: Buffer; size: number }>(
          `SELECT contents.digest, contents.size FROM files JOIN contents ON contents.id = files.content
           WHERE files.kind = 0 AND files.name > ? ORDER BY files.name LIMIT ?`,
        )
        .all(Buffer.from(after, 'hex'), limit)
        .map((row) => ({ content: digestFromBytes(row.digest), size: row.size })),
  };
}
