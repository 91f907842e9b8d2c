import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { fromSqlite } from '../src/cache/sqlite-error.js';
import { fromSystemError } from '../src/errors.js';
import { LayerIndex } from './layer-index.js';
import { PackIndex } from './pack-index.js';

/** Rows of another version are of no use: a new one begins with an empty file. */
const schemaVersion = 3;

const schema = `
  CREATE TABLE packs (
    id INTEGER PRIMARY KEY, store TEXT NOT NULL, digest BLOB NOT NULL, size INTEGER NOT NULL,
    UNIQUE (store, digest)
  );
  CREATE TABLE places (
    pack INTEGER NOT NULL REFERENCES packs ON DELETE CASCADE, repository TEXT NOT NULL,
    PRIMARY KEY (pack, repository)
  ) WITHOUT ROWID;
  CREATE TABLE chunks (
    digest BLOB NOT NULL, pack INTEGER NOT NULL REFERENCES packs ON DELETE CASCADE,
    length INTEGER NOT NULL,
    frame_offset INTEGER NOT NULL, frame_length INTEGER NOT NULL, plain_length INTEGER NOT NULL,
    codec TEXT NOT NULL, offset_in_frame INTEGER NOT NULL,
    PRIMARY KEY (digest, pack)
  ) WITHOUT ROWID;
  CREATE INDEX chunks_of_pack ON chunks (pack);
  CREATE TABLE layers (
    id INTEGER PRIMARY KEY, store TEXT NOT NULL, repository TEXT NOT NULL, layer TEXT NOT NULL,
    converter TEXT NOT NULL, diff_id BLOB NOT NULL,
    chunk_map BLOB NOT NULL, chunk_map_size INTEGER NOT NULL,
    UNIQUE (store, layer, converter, repository)
  );
  CREATE TABLE entries (
    layer INTEGER NOT NULL REFERENCES layers ON DELETE CASCADE, part INTEGER NOT NULL,
    bytes BLOB NOT NULL, size INTEGER NOT NULL,
    PRIMARY KEY (layer, part)
  );
`;

/**
 * What this machine has already converted, and into which stores: a cache under
 * `$XDG_CACHE_HOME/thinfs` that may be deleted at any time, shared by converters that run at once.
 * Its rows are claims about stores; the converter asks the store before it believes them.
 */
export class ConversionIndex {
  readonly #database: Database.Database;
  readonly #path: string;
  readonly packs: PackIndex;
  readonly layers: LayerIndex;

  private constructor(database: Database.Database, path: string) {
    this.#database = database;
    this.#path = path;
    this.packs = new PackIndex(database);
    this.layers = new LayerIndex(database);
  }

  static open(folder: string): ConversionIndex {
    const path = join(folder, `conversions-v${schemaVersion}.db`);
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      removeFormer(folder);
      const database = new Database(path, { timeout: 30_000 });
      database.pragma('journal_mode = WAL');
      database.pragma('synchronous = NORMAL');
      database.pragma('foreign_keys = ON');
      database
        .transaction(() => {
          if (database.pragma('user_version', { simple: true }) === schemaVersion) return;
          database.exec(schema);
          database.pragma(`user_version = ${schemaVersion}`);
        })
        .immediate();
      return new ConversionIndex(database, path);
    } catch (error) {
      const action = `Cannot open conversion index ${path} (it is safe to delete)`;
      throw fromSystemError(action, fromSqlite(action, error));
    }
  }

  /** Ours for an error of SQLite (damage, a full disk, others that hold it for long), else as it is. */
  errorOf(error: unknown): unknown {
    return fromSqlite(`Cannot use conversion index ${this.#path} (it is safe to delete)`, error);
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }
}

/** What earlier versions have left takes space for nothing. */
function removeFormer(folder: string): void {
  for (let version = 1; version < schemaVersion; version++) {
    for (const suffix of ['', '-wal', '-shm']) {
      rmSync(join(folder, `conversions-v${version}.db${suffix}`), { force: true });
    }
  }
}
