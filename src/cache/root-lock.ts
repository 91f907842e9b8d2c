import { readFileSync, writeFileSync } from 'node:fs';
import Database from 'better-sqlite3';
import { fromSystemError, ThinError } from '../errors.js';
import type { CacheLayout } from './layout.js';
import { processStart } from './process-start.js';

/**
 * Keeps a second daemon off the root, for as long as this process lives or until it is disposed.
 * It is SQLite's own exclusive lock on an empty database: the kernel takes it back whatever way the
 * process ends, so that there is no stale lock to guess about. The file `owner` beside it only names
 * the holder for people.
 */
export class RootLock implements Disposable {
  readonly #database: Database.Database;

  /** @throws ThinError `busy`, with the holder's process id, if another daemon has the root */
  static take(layout: CacheLayout): RootLock {
    const action = `Cannot lock cache directory ${layout.root}`;
    const database = new Database(layout.lock, { timeout: 0 });
    try {
      database.pragma('journal_mode = MEMORY'); // a full disk has no room for a file
      database.exec('BEGIN EXCLUSIVE');
    } catch (error) {
      database.close();
      if (error instanceof Database.SqliteError && error.code.startsWith('SQLITE_BUSY')) {
        throw new ThinError('busy', `${action}: ${describeHolder(layout)} uses it`);
      }
      throw fromSystemError(action, error);
    }
    writeOwner(layout);
    return new RootLock(database);
  }

  private constructor(database: Database.Database) {
    this.#database = database;
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }
}

function writeOwner(layout: CacheLayout): void {
  try {
    writeFileSync(layout.owner, `${process.pid} ${processStart(process.pid) ?? ''}\n`);
  } catch {
    // A full disk: the lock holds without a name beside it.
  }
}

function describeHolder(layout: CacheLayout): string {
  try {
    const [pid] = readFileSync(layout.owner, 'latin1').split(' ');
    if (pid !== undefined && /^[0-9]+$/.test(pid)) return `process ${pid}`;
  } catch {
    // Not written, or not yet.
  }
  return 'another process';
}
