import Database from 'better-sqlite3';
import { ThinError } from '../errors.js';
import { fromSqlite } from './sqlite-error.js';

/** Raised when the tables change; an index of any other version is made anew from the directories. */
const schemaVersion = 4;

/** KiB of pages that SQLite keeps; the kernel's cache has the others. */
const cacheKiB = 4096;

/**
 * Pages in the log from which on they are put into the database: 16 MB. A page that many transactions
 * change, as most do when many files come, is written there once for all of them.
 */
const logPages = 4096;

const schema = `
  -- Contents that are here, or belong to an image that is known here; each digest once. New digests
  -- come in no order: their index is small, since a transaction writes nearly all pages of it.
  CREATE TABLE contents (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL,
    size INTEGER NOT NULL
  );
  CREATE INDEX contents_by_digest ON contents (substr(digest, 1, 6));
  -- Files on the disk. kind 0: complete, name is empty: it is the content's digest; 1: partial, name
  -- is its key.
  -- Ids are never used twice: "up to this id everything is durable" must stay true.
  -- durable: when it was known to be on the disk as it should be, in ms since 1970; 0: not yet. The
  -- file's ctime is older than that, or it was changed behind our back. verified: when last read.
  CREATE TABLE files (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind INTEGER NOT NULL,
    name BLOB NOT NULL,
    tier TEXT NOT NULL,
    content INTEGER NOT NULL REFERENCES contents(id),
    allocated INTEGER NOT NULL,
    used INTEGER NOT NULL,
    durable INTEGER NOT NULL DEFAULT 0,
    verified INTEGER NOT NULL,
    UNIQUE (content, name)
  );
  CREATE INDEX partial_files ON files (name) WHERE kind = 1;
  CREATE INDEX files_by_use ON files (tier, used, id);
  CREATE INDEX files_not_durable ON files (id) WHERE durable = 0;
  CREATE INDEX files_by_scrub ON files (verified) WHERE kind = 0;
  -- Sums, kept by the tables themselves: adding up a million files takes a tenth of a second.
  CREATE TABLE sums (
    tier TEXT NOT NULL,
    kind INTEGER NOT NULL,
    files INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (tier, kind)
  ) WITHOUT ROWID;
  CREATE TRIGGER file_added AFTER INSERT ON files BEGIN
    INSERT INTO sums VALUES (new.tier, new.kind, 1, new.allocated)
      ON CONFLICT DO UPDATE SET files = files + 1, bytes = bytes + excluded.bytes;
  END;
  CREATE TRIGGER file_removed AFTER DELETE ON files BEGIN
    UPDATE sums SET files = files - 1, bytes = bytes - old.allocated
      WHERE tier = old.tier AND kind = old.kind;
  END;
  CREATE TRIGGER file_grown AFTER UPDATE OF allocated ON files BEGIN
    UPDATE sums SET bytes = bytes + new.allocated - old.allocated
      WHERE tier = new.tier AND kind = new.kind;
  END;
  -- Chunks of files that have more than one, complete or partial, by the first bytes of their
  -- digests. A hint: what is copied is verified.
  CREATE TABLE chunks (
    digest BLOB PRIMARY KEY,
    content INTEGER NOT NULL REFERENCES contents(id) ON DELETE CASCADE,
    offset INTEGER NOT NULL
  ) WITHOUT ROWID;
  CREATE INDEX chunks_by_content ON chunks (content);
  CREATE TABLE images (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    pinned INTEGER NOT NULL DEFAULT 0,
    -- 1 when all of its files are in members
    complete INTEGER NOT NULL DEFAULT 0,
    used INTEGER NOT NULL DEFAULT 0
  );
  CREATE TABLE members (
    image INTEGER NOT NULL REFERENCES images(id) ON DELETE CASCADE,
    content INTEGER NOT NULL REFERENCES contents(id),
    PRIMARY KEY (image, content)
  ) WITHOUT ROWID;
  CREATE INDEX members_by_content ON members (content, image);
  -- Live mounts, by the process that made them.
  CREATE TABLE leases (
    image INTEGER NOT NULL REFERENCES images(id) ON DELETE CASCADE,
    pid INTEGER NOT NULL,
    start INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (image, pid, start)
  ) WITHOUT ROWID;
  CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
  -- clean: everything on the disk is durable and in the tables. sequence: the clock of use.
  -- known: the images here are all that there are; 0 after the index was lost.
  -- epoch: see storage-epoch.ts.
  INSERT INTO state VALUES ('clean', 0), ('sequence', 1), ('known', 1), ('epoch', 0);
`;

export type StateName = 'clean' | 'sequence' | 'known' | 'epoch';

/**
 * How an index was found: closed in order; left behind by a process or machine that stopped; or made
 * just now, knowing nothing of what is on the disk.
 */
export type IndexState = 'clean' | 'unclean' | 'lost';

export interface OpenIndex {
  readonly database: Database.Database;
  readonly state: IndexState;
}

/**
 * Opens the index at `path`.
 * @throws ThinError `corrupt` if it is none, or damaged; `no-space` if the disk is full
 */
export function openIndex(path: string): OpenIndex {
  return translated(() => {
    const database = new Database(path);
    try {
      // One process has the root. Without shared memory, WAL needs no file for it on a full disk.
      database.pragma('locking_mode = EXCLUSIVE');
      database.pragma('journal_mode = WAL');
      database.pragma('foreign_keys = ON');
      database.pragma(`cache_size = -${cacheKiB}`);
      database.pragma(`wal_autocheckpoint = ${logPages}`);
      const state = prepareTables(database);
      if (state === 'unclean') checkPages(database);
      // Also to learn now, not with the first mount, that the disk has no room.
      durably(database, () => setState(database, 'clean', 0));
      return { database, state };
    } catch (error) {
      database.close();
      throw error;
    }
  });
}

function prepareTables(database: Database.Database): IndexState {
  const version = database.pragma('user_version', { simple: true });
  if (version === schemaVersion) return getState(database, 'clean') === 1 ? 'clean' : 'unclean';
  const tables = database.prepare('SELECT count(*) FROM sqlite_schema').pluck().get();
  if (version !== 0 || tables !== 0) {
    throw new ThinError(
      'corrupt',
      `Cannot use cache index: version ${version} (wanted ${schemaVersion})`,
    );
  }
  database.transaction(() => {
    database.exec(schema);
    database.pragma(`user_version = ${schemaVersion}`);
  })();
  return 'lost';
}

function checkPages(database: Database.Database): void {
  const found = database.pragma('quick_check(1)', { simple: true });
  if (found !== 'ok') throw new ThinError('corrupt', `Cannot use cache index: ${found}`);
}

export function getState(database: Database.Database, name: StateName): number {
  const value = database.prepare('SELECT value FROM state WHERE name = ?').pluck().get(name);
  return typeof value === 'number' ? value : 0;
}

export function setState(database: Database.Database, name: StateName, value: number): void {
  database.prepare('INSERT OR REPLACE INTO state VALUES (?, ?)').run(name, value);
}

/**
 * Runs a change that a power cut must not take back, with all before it. Of other changes the last
 * ones may be lost, and nothing is damaged.
 */
export function durably(database: Database.Database, work: () => void): void {
  database.pragma('synchronous = FULL');
  try {
    work();
  } finally {
    database.pragma('synchronous = NORMAL');
  }
}

/** Runs database work; SQLite's errors become ours. */
export function translated<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw fromSqlite('Cannot use cache index', error);
  }
}
