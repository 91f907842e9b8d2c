import type { Database } from 'better-sqlite3';
import { type Digest, digestBytes, digestFromBytes } from '../digest.js';
import type { FileRef } from './file-origin.js';
import { contentsOf } from './index-contents.js';

/**
 * Chunks on record: 100 MB of index, and the chunks of some 100 GB of files. Beyond it those of the
 * files that were not used for the longest time are forgotten, and fetched where they could be copied.
 */
const chunksMax = 2_000_000;
/** Down to which they are forgotten then, and files in one step of it: looking for them takes long. */
const chunksKept = 1_800_000;
const forgetFiles = 1000;
/** Bytes of a digest that name a chunk here. */
const prefixBytes = 16;

/** Chunks that came into a file, packed: they are many. */
export interface ChunkPlaces {
  /** The file's content. */
  readonly content: Digest;
  /** The first 16 bytes of each chunk's digest. */
  readonly prefixes: Uint8Array;
  /** Where each begins in the file. */
  readonly offsets: Float64Array;
}

/** Where a chunk can be copied from. */
export interface ChunkCopy extends FileRef {
  /** Name of the partial file; undefined where the file is complete. */
  readonly partial: string | undefined;
  readonly offset: number;
}

interface CopyRow {
  readonly digest: Buffer;
  readonly size: number;
  readonly kind: number;
  readonly name: Buffer;
  readonly offset: number;
}

/** Packs chunks for the index. */
export function chunkPlaces(
  content: Digest,
  chunks: readonly { readonly digest: Digest; readonly offset: number }[],
): ChunkPlaces {
  const prefixes = new Uint8Array(chunks.length * prefixBytes);
  for (const [at, { digest }] of chunks.entries()) {
    prefixes.set(prefixOf(digest), at * prefixBytes);
  }
  return { content, prefixes, offsets: Float64Array.from(chunks, ({ offset }) => offset) };
}

function prefixOf(digest: Digest): Buffer {
  return digestBytes(digest).subarray(0, prefixBytes);
}

/** The calls about chunks: bytes that are here may be wanted in another file, too. */
export function chunkCalls(database: Database) {
  const contents = contentsOf(database);
  const isHere = database.prepare<[number]>('SELECT 1 FROM files WHERE content = ?');
  const add = database.prepare<[Buffer, unknown, number]>(
    'INSERT OR REPLACE INTO chunks VALUES (?, ?, ?)',
  );
  const find = database.prepare<[Buffer], CopyRow>(
    `SELECT contents.digest, contents.size, files.kind, files.name, chunks.offset FROM chunks
     JOIN contents ON contents.id = chunks.content JOIN files ON files.content = contents.id
     WHERE chunks.digest = ? ORDER BY files.kind LIMIT 1`,
  );
  const count = database.prepare('SELECT count(*) FROM chunks').pluck();
  const oldest = database
    .prepare(
      `SELECT content FROM files
       WHERE EXISTS (SELECT 1 FROM chunks WHERE chunks.content = files.content)
       ORDER BY used, id LIMIT ?`,
    )
    .pluck();
  const forget = database.prepare<[unknown]>('DELETE FROM chunks WHERE content = ?');

  /** At most so many are there: one that was there already is counted again. */
  let most = Number(count.get());

  const trim = (): void => {
    most = Number(count.get());
    if (most <= chunksMax) return;
    for (let before = 0; most > chunksKept && most !== before; ) {
      before = most;
      for (const content of oldest.all(forgetFiles)) most -= forget.run(content).changes;
    }
  };

  return {
    /** Notes chunks; to be called in a transaction. */
    addChunks: ({ content, prefixes, offsets }: ChunkPlaces): void => {
      const id = contents.find(digestBytes(content));
      if (id === undefined || isHere.get(id) === undefined) return; // evicted in the meantime
      const packed = Buffer.from(prefixes.buffer, prefixes.byteOffset, prefixes.byteLength);
      for (const [at, offset] of offsets.entries()) {
        add.run(packed.subarray(at * prefixBytes, (at + 1) * prefixBytes), id, offset);
      }
      most += offsets.length;
      if (most > chunksMax) trim();
    },

    /** Where files here have these chunks. */
    findChunks: (digests: readonly Digest[]): (ChunkCopy | undefined)[] =>
      digests.map((digest) => {
        const row = find.get(prefixOf(digest));
        return (
          row && {
            content: digestFromBytes(row.digest),
            size: row.size,
            partial: row.kind === 1 ? row.name.toString('hex') : undefined,
            offset: row.offset,
          }
        );
      }),
  };
}
