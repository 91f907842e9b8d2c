import { readFileSync, writeFileSync } from 'node:fs';
import Database from 'better-sqlite3';
import { fromSystemError, ThinError } from '../errors.js';
import type { LockPlace } from './layout.js';
import { processStart } from './process-start.js';

/**
 * Keeps a second daemon off our directories, for as long as this process lives or until it is disposed.
 * It is SQLite's own exclusive lock on empty databases: the kernel takes it back whatever way the
 * process ends, so that there is no stale lock to guess about. The files `owner` beside
 * them only name the holder for people.
 */
export class RootLock implements Disposable {
  readonly #databases: readonly Database.Database[];

  /**
   * Locks all `places`, or none.
   * @throws ThinError `busy`, with the holder's process id, if another daemon has one of them
   */
  static take(places: readonly LockPlace[]): RootLock {
    const databases: Database.Database[] = [];
    try {
      for (const place of places) databases.push(lock(place));
    } catch (error) {
      for (const database of databases) database.close();
      throw error;
    }
    return new RootLock(databases);
  }

  private constructor(databases: readonly Database.Database[]) {
    this.#databases = databases;
  }

  [Symbol.dispose](): void {
    for (const database of this.#databases) database.close();
  }
}

function lock(place: LockPlace): Database.Database {
  const action = `Cannot lock ${place.directory}`;
  const database = new Database(place.lock, { timeout: 0 });
  try {
    database.pragma('journal_mode = MEMORY'); // a full disk has no room for a file
    database.exec('BEGIN EXCLUSIVE');
  } catch (error) {
    database.close();
    if (error instanceof Database.SqliteError && error.code.startsWith('SQLITE_BUSY')) {
      throw new ThinError('busy', `${action}: ${describeHolder(place)} uses it`);
    }
    throw fromSystemError(action, error);
  }
  writeOwner(place);
  return database;
}

function writeOwner(place: LockPlace): void {
  try {
    writeFileSync(place.owner, `${process.pid} ${processStart(process.pid) ?? ''}\n`);
  } catch {
    // A full disk: the lock holds without a name beside it.
  }
}

function describeHolder(place: LockPlace): string {
  try {
    const [pid] = readFileSync(place.owner, 'latin1').split(' ');
    if (pid !== undefined && /^[0-9]+$/.test(pid)) return `process ${pid}`;
  } catch {
    // Not written, or not yet.
  }
  return 'another process';
}
