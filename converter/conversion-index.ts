import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import type { Chunk, FileChunks, Pack } from '../src/chunk/frame.js';
import { type Digest, digestBytes, digestFromBytes } from '../src/digest.js';
import { fromSystemError } from '../src/errors.js';
import { type ConvertedLayer, decodeLayer, encodeLayer } from './layer-record.js';

/** Rows of another version are of no use: the file is made anew. */
const schemaVersion = 1;

const schema = `
  CREATE TABLE packs (
    id INTEGER PRIMARY KEY, store TEXT NOT NULL, digest BLOB NOT NULL, size INTEGER NOT NULL,
    UNIQUE (store, digest)
  );
  CREATE TABLE chunks (
    store TEXT NOT NULL, digest BLOB NOT NULL, length INTEGER NOT NULL,
    pack INTEGER NOT NULL REFERENCES packs ON DELETE CASCADE,
    frame_offset INTEGER NOT NULL, frame_length INTEGER NOT NULL, plain_length INTEGER NOT NULL,
    codec TEXT NOT NULL, offset_in_frame INTEGER NOT NULL,
    PRIMARY KEY (store, digest)
  ) WITHOUT ROWID;
  CREATE INDEX chunks_of_pack ON chunks (pack);
  CREATE TABLE layers (
    store TEXT NOT NULL, layer TEXT NOT NULL, converter TEXT NOT NULL, record BLOB NOT NULL,
    PRIMARY KEY (store, layer, converter)
  ) WITHOUT ROWID;
`;

interface ChunkRow {
  length: number;
  pack: Buffer;
  frame_offset: number;
  frame_length: number;
  plain_length: number;
  codec: 'stored' | 'zstd';
  offset_in_frame: number;
}

/**
 * What this machine has already converted, and into which store: a cache under
 * `$XDG_CACHE_HOME/thinfs` that may be deleted at any time, shared by converters that run at once.
 * A store's rows are a claim about that store; the converter asks the store before it believes them.
 */
export class ConversionIndex {
  readonly #database: Database.Database;

  private constructor(database: Database.Database) {
    this.#database = database;
  }

  static open(folder: string): ConversionIndex {
    const path = join(folder, `conversions-v${schemaVersion}.db`);
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
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
      return new ConversionIndex(database);
    } catch (error) {
      throw fromSystemError(`Cannot open conversion index ${path} (it is safe to delete)`, error);
    }
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }

  packs(store: string): Pack[] {
    return this.#database
      .prepare<[string], { digest: Buffer; size: number }>(
        'SELECT digest, size FROM packs WHERE store = ? ORDER BY id',
      )
      .all(store)
      .map(({ digest, size }) => ({ digest: digestFromBytes(digest), size }));
  }

  /** The store has lost a pack: what refers to it is forgotten. */
  forgetPack(store: string, pack: Digest): void {
    this.#database
      .transaction(() => {
        const bytes = digestBytes(pack);
        this.#database
          .prepare('DELETE FROM packs WHERE store = ? AND digest = ?')
          .run(store, bytes);
        this.#database.prepare('DELETE FROM layers WHERE store = ?').run(store);
      })
      .immediate();
  }

  /** A look-up function for chunks in the packs of a store that were found to be there. */
  chunkFinder(store: string, present: ReadonlySet<Digest>): (digest: Digest) => Chunk | undefined {
    if (present.size === 0) return () => undefined;
    const find = this.#database.prepare<[string, Buffer], ChunkRow>(
      `SELECT length, packs.digest AS pack, frame_offset, frame_length, plain_length, codec,
         offset_in_frame
       FROM chunks JOIN packs ON packs.id = chunks.pack WHERE chunks.store = ? AND chunks.digest = ?`,
    );
    return (digest) => {
      const row = find.get(store, digestBytes(digest));
      const pack = row && digestFromBytes(row.pack);
      if (!row || !pack || !present.has(pack)) return undefined;
      const frame = {
        pack,
        offset: row.frame_offset,
        length: row.frame_length,
        plainLength: row.plain_length,
        codec: row.codec,
      };
      return { digest, length: row.length, frame, offsetInFrame: row.offset_in_frame };
    };
  }

  async layer(
    store: string,
    layer: string,
    converter: string,
  ): Promise<ConvertedLayer | undefined> {
    const row = this.#database
      .prepare<[string, string, string], { record: Buffer }>(
        'SELECT record FROM layers WHERE store = ? AND layer = ? AND converter = ?',
      )
      .get(store, layer, converter);
    return row && decodeLayer(row.record);
  }

  /** A pack is in the store, with these chunks of these files. */
  addPack(store: string, pack: Pack, files: readonly FileChunks[]): void {
    const database = this.#database;
    const addPack = database.prepare<[string, Buffer, number], { id: number }>(
      `INSERT INTO packs (store, digest, size) VALUES (?, ?, ?)
       ON CONFLICT (store, digest) DO UPDATE SET size = excluded.size RETURNING id`,
    );
    const addChunk = database.prepare(
      'INSERT OR IGNORE INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
    );
    database
      .transaction(() => {
        const id = addPack.get(store, digestBytes(pack.digest), pack.size)?.id;
        for (const { digest, length, frame, offsetInFrame } of chunksIn(pack.digest, files)) {
          const { offset, plainLength, codec } = frame;
          const place = [offset, frame.length, plainLength, codec, offsetInFrame];
          addChunk.run(store, digestBytes(digest), length, id, ...place);
        }
      })
      .immediate();
  }

  async addLayer(
    store: string,
    layer: string,
    converter: string,
    converted: ConvertedLayer,
  ): Promise<void> {
    const bytes = await encodeLayer(converted);
    this.#database
      .prepare('INSERT OR REPLACE INTO layers VALUES (?, ?, ?, ?)')
      .run(store, layer, converter, bytes);
  }
}

function* chunksIn(pack: Digest, files: readonly FileChunks[]): Generator<Chunk> {
  for (const { chunks } of files) {
    for (const chunk of chunks) if (chunk.frame.pack === pack) yield chunk;
  }
}
