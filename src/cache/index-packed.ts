import type { Database } from 'better-sqlite3';
import { contentsOf } from './index-contents.js';
import { getState } from './index-schema.js';
import { unpackRawFiles } from './packed-files.js';

/** The calls about many files at once, as packed-files.ts has them. */
export function packedCalls(database: Database) {
  const contents = contentsOf(database);
  const dropFile = database.prepare<[number]>("DELETE FROM files WHERE content = ? AND name = x''");
  const addFile = database.prepare<[string, number, number, number, number]>(
    `INSERT INTO files (kind, name, tier, content, allocated, used, verified)
     VALUES (0, x'', ?, ?, ?, ?, ?)`,
  );
  const findImage = database
    .prepare<[string], number>('SELECT id FROM images WHERE name = ?')
    .pluck();
  const addImage = database.prepare<[string]>('INSERT OR IGNORE INTO images (name) VALUES (?)');
  const addMember = database.prepare<[number, number]>(
    'INSERT OR IGNORE INTO members VALUES (?, ?)',
  );

  return {
    /** Complete files that were placed in a tier; those that took no disk were here before. */
    place: database.transaction((tier: string, files: Uint8Array): void => {
      const sequence = getState(database, 'sequence');
      const now = Date.now();
      for (const { digest, size, allocated } of unpackRawFiles(viewOf(files))) {
        if (allocated === undefined) continue;
        const { id, isNew } = contents.findOrAdd(digest, size);
        // A file that is placed anew is another one, and not durable yet.
        if (!isNew) dropFile.run(id);
        addFile.run(tier, id, allocated, sequence, now);
      }
    }),

    addMembers: database.transaction((image: string, files: Uint8Array): void => {
      addImage.run(image);
      const imageId = findImage.get(image) ?? 0;
      for (const { digest, size } of unpackRawFiles(viewOf(files))) {
        addMember.run(imageId, contents.findOrAdd(digest, size).id);
      }
    }),
  };
}

/** What has crossed threads is no Buffer any more. */
function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}
