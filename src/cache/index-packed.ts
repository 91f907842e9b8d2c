import type { Database } from 'better-sqlite3';
import { getState } from './index-schema.js';
import { unpackRawFiles } from './packed-files.js';

/** The calls about many files at once, as packed-files.ts has them. */
export function packedCalls(database: Database) {
  const findContent = database
    .prepare<[Buffer], number>('SELECT id FROM contents WHERE digest = ?')
    .pluck();
  const addContent = database.prepare<[Buffer, number]>(
    'INSERT OR IGNORE INTO contents (digest, size) VALUES (?, ?)',
  );
  const dropFile = database.prepare<[Buffer]>('DELETE FROM files WHERE kind = 0 AND name = ?');
  const addFile = database.prepare<[Buffer, string, number, number, number, number]>(
    `INSERT INTO files (kind, name, tier, content, allocated, used, verified)
     VALUES (0, ?, ?, ?, ?, ?, ?)`,
  );
  const findImage = database
    .prepare<[string], number>('SELECT id FROM images WHERE name = ?')
    .pluck();
  const addImage = database.prepare<[string]>('INSERT OR IGNORE INTO images (name) VALUES (?)');
  const addMember = database.prepare<[number, number]>(
    'INSERT OR IGNORE INTO members VALUES (?, ?)',
  );

  /** A new content most often; `isNew`: nothing refers to it yet. */
  const contentOf = (digest: Buffer, size: number): { id: number; isNew: boolean } => {
    const added = addContent.run(digest, size);
    if (added.changes === 1) return { id: Number(added.lastInsertRowid), isNew: true };
    return { id: findContent.get(digest) ?? 0, isNew: false };
  };

  return {
    /** Complete files that were placed in a tier; those that took no disk were here before. */
    place: database.transaction((tier: string, files: Uint8Array): void => {
      const sequence = getState(database, 'sequence');
      const now = Date.now();
      for (const { digest, size, allocated } of unpackRawFiles(viewOf(files))) {
        if (allocated === undefined) continue;
        const { id, isNew } = contentOf(digest, size);
        // A file that is placed anew is another one, and not durable yet.
        if (!isNew) dropFile.run(digest);
        addFile.run(digest, tier, id, allocated, sequence, now);
      }
    }),

    addMembers: database.transaction((image: string, files: Uint8Array): void => {
      addImage.run(image);
      const imageId = findImage.get(image) ?? 0;
      for (const { digest, size } of unpackRawFiles(viewOf(files))) {
        addMember.run(imageId, contentOf(digest, size).id);
      }
    }),
  };
}

/** What has crossed threads is no Buffer any more. */
function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}
