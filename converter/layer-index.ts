import type Database from 'better-sqlite3';
import { zstdCompress, zstdDecompress } from '../native-bindings/zstd.js';
import type { FileChunks, Pack } from '../src/chunk/frame.js';
import { type Digest, digestBytes, digestFromBytes } from '../src/digest.js';
import { ChunkMap } from '../src/thin/chunk-map.js';
import { encodeChunkMap } from '../src/thin/chunk-map-encoder.js';
import type { ConvertedLayer } from './converted-layer.js';
import { EntriesWriter, type LayerEntries } from './layer-entries.js';
import type { StorePlace } from './store-place.js';

/** zstd level: a layer is remembered once and read seldom. */
const recordLevel = 3;
/** Repositories whose record of a layer is looked at: each may have its packs elsewhere. */
const candidatesMax = 4;

/** A layer by what decides how it is converted. */
export interface LayerKey {
  /** Digest of the layer as it is stored. */
  readonly layer: string;
  /** Version and settings of the converter. */
  readonly converter: string;
}

interface LayerRow {
  id: number;
  diff_id: Buffer;
  chunk_map: Buffer;
  chunk_map_size: number;
}

/** A layer that was converted before. */
export interface RememberedLayer {
  readonly diffId: Digest;
  /** What its chunks are in. */
  readonly packs: readonly Pack[];
  /**
   * @param path of a file to make, for the entries
   * @throws ThinError `corrupt` if the index was damaged
   */
  restore(path: string): Promise<ConvertedLayer>;
}

/** Layers of the conversion index: their entries, and a chunk map each. */
export class LayerIndex {
  readonly #database: Database.Database;

  constructor(database: Database.Database) {
    this.#database = database;
  }

  /**
   * As it was converted for this repository, then for others of the store.
   * @throws ThinError `corrupt` if the index was damaged
   */
  async find({ store, repository }: StorePlace, key: LayerKey): Promise<RememberedLayer[]> {
    const rows = this.#database
      .prepare<[string, string, string, string, number], LayerRow>(
        `SELECT id, diff_id, chunk_map, chunk_map_size FROM layers
         WHERE store = ? AND layer = ? AND converter = ?
         ORDER BY repository = ? DESC, id DESC LIMIT ?`,
      )
      .all(store, key.layer, key.converter, repository, candidatesMax);
    return await Promise.all(rows.map((row) => this.#remembered(row)));
  }

  async add(
    { store, repository }: StorePlace,
    { layer, converter }: LayerKey,
    { diffId, entries, files }: ConvertedLayer,
    packs: readonly Pack[],
  ): Promise<void> {
    const plainMap = encodeChunkMap({ files, packs });
    const map = await zstdCompress(plainMap, recordLevel);
    const parts = await compressed(entries);
    const database = this.#database;
    const addRow = database.prepare<
      [string, string, string, string, Buffer, Buffer, number],
      { id: number }
    >(
      `INSERT OR REPLACE INTO layers
         (store, repository, layer, converter, diff_id, chunk_map, chunk_map_size)
       VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id`,
    );
    const addPart = database.prepare('INSERT INTO entries VALUES (?, ?, ?, ?)');
    const row = [store, repository, layer, converter, digestBytes(diffId), map] as const;
    database
      .transaction(() => {
        const id = addRow.get(...row, plainMap.length)?.id;
        for (const [number, { bytes, size }] of parts.entries())
          addPart.run(id, number, bytes, size);
      })
      .immediate();
  }

  async #remembered({ id, diff_id, chunk_map, chunk_map_size }: LayerRow) {
    const chunkMap = ChunkMap.parse(await zstdDecompress(chunk_map, chunk_map_size));
    const diffId = digestFromBytes(diff_id);
    const files = filesOf(chunkMap);
    return {
      diffId,
      packs: chunkMap.packs,
      restore: async (path: string) => ({ diffId, files, entries: await this.#restore(id, path) }),
    };
  }

  async #restore(id: number, path: string): Promise<LayerEntries> {
    const parts = this.#database
      .prepare<[number], { bytes: Buffer; size: number }>(
        'SELECT bytes, size FROM entries WHERE layer = ? ORDER BY part',
      )
      .all(id);
    using writer = EntriesWriter.create(path);
    for (const { bytes, size } of parts) writer.addBytes(await zstdDecompress(bytes, size));
    const entries = writer.finish();
    entries.check();
    return entries;
  }
}

async function compressed(entries: LayerEntries): Promise<{ bytes: Buffer; size: number }[]> {
  const parts: { bytes: Buffer; size: number }[] = [];
  for (const piece of entries.pieces()) {
    const bytes = Buffer.from(await zstdCompress(piece, recordLevel)); // without the unused rest
    parts.push({ bytes, size: piece.length });
  }
  return parts;
}

function filesOf(chunkMap: ChunkMap): Iterable<FileChunks> {
  return {
    *[Symbol.iterator]() {
      for (const { content, size } of chunkMap.files()) {
        yield { content, size, chunks: chunkMap.chunksOf(content) ?? [] };
      }
    },
  };
}
