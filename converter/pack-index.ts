import type Database from 'better-sqlite3';
import type { Chunk, FileChunks, Pack } from '../src/chunk/frame.js';
import { type Digest, digestBytes, digestFromBytes } from '../src/digest.js';
import type { FindOlder, OlderChunk } from './known-chunks.js';
import type { StorePlace } from './store-place.js';

interface ChunkRow {
  length: number;
  pack: Buffer;
  size: number;
  frame_offset: number;
  frame_length: number;
  plain_length: number;
  codec: 'stored' | 'zstd';
  offset_in_frame: number;
}

/** Packs of the conversion index: the chunks in them, and the repositories that have them. */
export class PackIndex {
  readonly #database: Database.Database;

  constructor(database: Database.Database) {
    this.#database = database;
  }

  /** True if a pack is known to be in the repository. */
  hasAny({ store, repository }: StorePlace): boolean {
    const found = this.#database
      .prepare(
        'SELECT 1 FROM packs JOIN places ON pack = id WHERE store = ? AND repository = ? LIMIT 1',
      )
      .get(store, repository);
    return found !== undefined;
  }

  /** Repositories of the store that have the pack. */
  repositoriesOf(store: string, pack: Digest): string[] {
    return this.#database
      .prepare<[string, Buffer], { repository: string }>(
        `SELECT repository FROM packs JOIN places ON pack = id WHERE store = ? AND digest = ?
         ORDER BY repository`,
      )
      .all(store, digestBytes(pack))
      .map(({ repository }) => repository);
  }

  /** A repository has a pack that the index knows; of another pack nothing is remembered. */
  addPlace({ store, repository }: StorePlace, pack: Digest): void {
    this.#database
      .prepare(
        'INSERT OR IGNORE INTO places SELECT id, ? FROM packs WHERE store = ? AND digest = ?',
      )
      .run(repository, store, digestBytes(pack));
  }

  /** A repository has lost a pack. When no other has it, its chunks are forgotten. */
  removePlace({ store, repository }: StorePlace, pack: Digest): void {
    const digest = digestBytes(pack);
    const ofPack = '(SELECT id FROM packs WHERE store = ? AND digest = ?)';
    this.#database
      .transaction(() => {
        this.#database
          .prepare(`DELETE FROM places WHERE repository = ? AND pack IN ${ofPack}`)
          .run(repository, store, digest);
        this.#database
          .prepare(
            `DELETE FROM packs WHERE store = ? AND digest = ?
             AND NOT EXISTS (SELECT 1 FROM places WHERE pack = id)`,
          )
          .run(store, digest);
      })
      .immediate();
  }

  /** A look-up function for the chunks of a store. */
  finder(store: string): FindOlder {
    const any = this.#database.prepare('SELECT 1 FROM packs WHERE store = ? LIMIT 1').get(store);
    if (any === undefined) return () => [];
    const find = this.#database.prepare<[Buffer, string], ChunkRow>(
      `SELECT length, packs.digest AS pack, packs.size AS size, frame_offset, frame_length,
         plain_length, codec, offset_in_frame
       FROM chunks JOIN packs ON packs.id = chunks.pack
       WHERE chunks.digest = ? AND packs.store = ? ORDER BY packs.id`,
    );
    return (digest) => find.all(digestBytes(digest), store).map((row) => olderChunk(digest, row));
  }

  /** A pack is in a repository, with these chunks of these files. */
  add({ store, repository }: StorePlace, pack: Pack, files: Iterable<FileChunks>): void {
    const database = this.#database;
    const addPack = database.prepare<[string, Buffer, number], { id: number }>(
      `INSERT INTO packs (store, digest, size) VALUES (?, ?, ?)
       ON CONFLICT (store, digest) DO UPDATE SET size = excluded.size RETURNING id`,
    );
    const addPlace = database.prepare('INSERT OR IGNORE INTO places VALUES (?, ?)');
    const addChunk = database.prepare(
      'INSERT OR IGNORE INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
    );
    database
      .transaction(() => {
        const id = addPack.get(store, digestBytes(pack.digest), pack.size)?.id;
        addPlace.run(id, repository);
        for (const { digest, length, frame, offsetInFrame } of chunksIn(pack.digest, files)) {
          const { offset, plainLength, codec } = frame;
          const place = [offset, frame.length, plainLength, codec, offsetInFrame];
          addChunk.run(digestBytes(digest), id, length, ...place);
        }
      })
      .immediate();
  }
}

function olderChunk(digest: Digest, row: ChunkRow): OlderChunk {
  const pack = { digest: digestFromBytes(row.pack), size: row.size };
  const frame = {
    pack: pack.digest,
    offset: row.frame_offset,
    length: row.frame_length,
    plainLength: row.plain_length,
    codec: row.codec,
  };
  return { pack, chunk: { digest, length: row.length, frame, offsetInFrame: row.offset_in_frame } };
}

function* chunksIn(pack: Digest, files: Iterable<FileChunks>): Generator<Chunk> {
  for (const { chunks } of files) {
    for (const chunk of chunks) if (chunk.frame.pack === pack) yield chunk;
  }
}
