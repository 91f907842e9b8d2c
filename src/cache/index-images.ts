import type { Database } from 'better-sqlite3';
import { type Digest, digestBytes } from '../digest.js';
import type { FileRef } from './file-origin.js';
import { contentsOf } from './index-contents.js';
import { getState, setState } from './index-schema.js';

/** Images that are neither mounted nor pinned and whose file lists are remembered all the same. */
const idleImagesMax = 256;

export interface MountLease {
  readonly image: string;
  readonly pid: number;
  readonly start: number;
  readonly count: number;
}

/** How much of an image is here. */
export interface ImageUsage {
  readonly image: string;
  readonly pinned: boolean;
  readonly mounts: number;
  readonly files: number;
  readonly completeFiles: number;
  readonly partialFiles: number;
  /** Bytes of all its files, of the complete ones, and on disk of the partial ones. */
  readonly bytes: number;
  readonly completeBytes: number;
  readonly partialBytes: number;
}

type ImageUsageRow = Omit<ImageUsage, 'pinned'> & { readonly pinned: number };

/** The calls about images: their files, mounts and pins, and what eviction may take. */
export function imageCalls(database: Database) {
  const findImage = database.prepare<[string], { id: number; complete: number }>(
    'SELECT id, complete FROM images WHERE name = ?',
  );
  const addImage = database.prepare<[string]>('INSERT INTO images (name) VALUES (?)');
  const contents = contentsOf(database);
  const addMember = database.prepare<[number, number]>(
    'INSERT OR IGNORE INTO members VALUES (?, ?)',
  );
  const isComplete = database.prepare<[number]>(
    'SELECT 1 FROM files WHERE content = ? AND kind = 0',
  );
  const absentMember = database.prepare<[number]>(
    `SELECT 1 FROM members WHERE image = ? AND NOT EXISTS (
       SELECT 1 FROM files WHERE files.content = members.content AND files.kind = 0) LIMIT 1`,
  );
  const imageId = (name: string): number =>
    findImage.get(name)?.id ?? Number(addImage.run(name).lastInsertRowid);
  const stamp = (image: string): void => {
    const sequence = getState(database, 'sequence');
    database.prepare('UPDATE images SET used = ? WHERE name = ?').run(sequence, image);
  };

  return {
    ...usageCalls(database),

    /** True if all files of the image are known already. */
    hasMembers: (image: string): boolean => findImage.get(image)?.complete === 1,

    addMembers: database.transaction((image: string, files: readonly FileRef[]): void => {
      const id = imageId(image);
      for (const { content, size } of files) {
        addMember.run(id, contents.findOrAdd(digestBytes(content), size).id);
      }
    }),

    /** Which of these contents are not here as complete files. */
    missing: (wanted: readonly Digest[]): Digest[] =>
      wanted.filter((content) => {
        const id = contents.find(digestBytes(content));
        return id === undefined || isComplete.get(id) === undefined;
      }),

    /** True if all files of the image are known, and here. */
    isComplete: (image: string): boolean => {
      const found = findImage.get(image);
      return found?.complete === 1 && absentMember.get(found.id) === undefined;
    },

    /** All files of the image were added. */
    completeMembers: (image: string): void => {
      database.prepare('UPDATE images SET complete = 1 WHERE id = ?').run(imageId(image));
    },

    pin: (image: string): void => {
      database.prepare('UPDATE images SET pinned = 1 WHERE id = ?').run(imageId(image));
    },

    unpin: (image: string): void => {
      database.prepare('UPDATE images SET pinned = 0 WHERE name = ?').run(image);
    },

    pinnedImages: (): string[] =>
      database
        .prepare<[], { name: string }>('SELECT name FROM images WHERE pinned = 1')
        .all()
        .map(({ name }) => name),

    lease: database.transaction((image: string, pid: number, start: number): void => {
      database
        .prepare(
          `INSERT INTO leases VALUES (?, ?, ?, 1)
           ON CONFLICT (image, pid, start) DO UPDATE SET count = count + 1`,
        )
        .run(imageId(image), pid, start);
      stamp(image);
      forgetIdleImages(database);
    }),

    /** Ends one mount of the image, of this owner. */
    release: database.transaction((image: string, pid: number, start: number): void => {
      const id = imageId(image);
      stamp(image);
      const owner = [id, pid, start];
      const where = 'WHERE image = ? AND pid = ? AND start = ?';
      database.prepare(`UPDATE leases SET count = count - 1 ${where}`).run(owner);
      database.prepare(`DELETE FROM leases ${where} AND count <= 0`).run(owner);
    }),

    /** Ends all mounts that an owner had of an image. */
    releaseAll: ({ image, pid, start }: MountLease): void => {
      database
        .prepare('DELETE FROM leases WHERE image = ? AND pid = ? AND start = ?')
        .run(imageId(image), pid, start);
    },

    leases: (): MountLease[] =>
      database
        .prepare<[], MountLease>(
          `SELECT images.name AS image, pid, start, count
           FROM leases JOIN images ON images.id = leases.image`,
        )
        .all(),

    /** Forgets images that are not in `keep` and not mounted; from now on all images are known. */
    keepImages: database.transaction((keep: readonly string[]): string[] => {
      const kept = new Set(keep);
      const gone = database
        .prepare<[], { name: string }>(
          'SELECT name FROM images WHERE id NOT IN (SELECT image FROM leases)',
        )
        .all()
        .filter(({ name }) => !kept.has(name));
      const drop = database.prepare('DELETE FROM images WHERE name = ?');
      for (const { name } of gone) drop.run(name);
      database.exec(
        `DELETE FROM contents WHERE id NOT IN (SELECT content FROM members)
           AND id NOT IN (SELECT content FROM files)`,
      );
      setState(database, 'known', 1);
      return gone.map(({ name }) => name);
    }),
  };
}

function forgetIdleImages(database: Database): void {
  database
    .prepare(
      `DELETE FROM images WHERE id IN (
         SELECT id FROM images WHERE pinned = 0 AND id NOT IN (SELECT image FROM leases)
         ORDER BY used DESC LIMIT -1 OFFSET ?)`,
    )
    .run(idleImagesMax);
}

function usageCalls(database: Database) {
  return {
    imageUsage: (): ImageUsage[] =>
      database
        .prepare<[], ImageUsageRow>(
          `SELECT images.name AS image, images.pinned,
             (SELECT coalesce(sum(count), 0) FROM leases WHERE leases.image = images.id) AS mounts,
             count(members.content) AS files,
             coalesce(sum(complete.id IS NOT NULL), 0) AS completeFiles,
             coalesce(sum(complete.id IS NULL AND partial.id IS NOT NULL), 0) AS partialFiles,
             coalesce(sum(contents.size), 0) AS bytes,
             coalesce(sum(iif(complete.id IS NULL, 0, contents.size)), 0) AS completeBytes,
             coalesce(sum(iif(complete.id IS NULL, partial.allocated, 0)), 0) AS partialBytes
           FROM images
           LEFT JOIN members ON members.image = images.id
           LEFT JOIN contents ON contents.id = members.content
           LEFT JOIN files AS complete ON complete.content = contents.id AND complete.kind = 0
           LEFT JOIN (SELECT content, id, max(allocated) AS allocated FROM files
                      WHERE kind = 1 GROUP BY content) AS partial ON partial.content = contents.id
           GROUP BY images.id ORDER BY images.name`,
        )
        .all()
        .map((row) => ({ ...row, pinned: row.pinned === 1 })),
  };
}
