import type { CacheParts } from './cache-parts.js';
import { isChunk } from './chunk-table.js';
import type { FrameKeeper } from './frame-keeper.js';
import type { NearChunks } from './near-chunks.js';
import type { ChunkBytes, ChunkedFile } from './partial-file.js';
import type { SharedCopies } from './shared-copies.js';
import type { SharedFiles } from './shared-files.js';

/** Bytes that are asked of shared files at once. */
const sharedBytesMax = 1024 * 1024;

/**
 * Fills files with what is near: chunks that other files here have (what an updated image shares with
 * the old one), and files that the nodes of a site share.
 */
export class ChunkCopier {
  readonly #near: NearChunks;
  readonly #keeper: FrameKeeper;
  readonly #shared: SharedFiles | undefined;
  readonly #copies: SharedCopies;

  constructor(
    near: NearChunks,
    keeper: FrameKeeper,
    { shared, copies }: Pick<CacheParts, 'shared' | 'copies'>,
  ) {
    this.#shared = shared;
    this.#copies = copies;
    this.#near = near;
    this.#keeper = keeper;
  }

  /**
   * The bytes, verified, of those of the chunks that are near; they are kept in this file too. Never
   * fails.
   * @param missing indexes of chunks, ascending; all their bytes are in memory at the same time
   * @param when what nodes share is kept: before this ends, or behind who waits for it
   */
  async copy(
    chunked: ChunkedFile,
    missing: readonly number[],
    when: 'now' | 'behind' = 'now',
  ): Promise<Map<number, Buffer>> {
    const copied = new Map<number, Buffer>();
    if (missing.length === 0) return copied;
    await this.#copyHere(chunked, missing, copied);
    const ours: ChunkBytes[] = [...copied].map(([index, bytes]) => ({ index, bytes }));
    if (ours.length > 0) await this.#keeper.keepChunks(chunked, ours);
    if (copied.size < missing.length) await this.#copyShared(chunked, missing, copied, when);
    return copied;
  }

  async #copyHere(
    { table }: ChunkedFile,
    missing: readonly number[],
    copied: Map<number, Buffer>,
  ): Promise<void> {
    // A file of one chunk would have been found by its name.
    if (table.chunks.length === 1) return;
    const copies = await this.#near.findCopies(missing.map((at) => table.chunk(at).digest));
    for (const [at, index] of missing.entries()) {
      const copy = copies[at];
      const bytes = copy && (await this.#near.readUnverified(copy, table.chunk(index).length));
      if (bytes !== undefined && isChunk(table.chunk(index), bytes)) copied.set(index, bytes);
    }
  }

  async #copyShared(
    chunked: ChunkedFile,
    missing: readonly number[],
    copied: Map<number, Buffer>,
    when: 'now' | 'behind',
  ): Promise<void> {
    const shared = this.#shared;
    if (!shared) return;
    const found: ChunkBytes[] = [];
    const { file, table } = chunked;
    const wanted = missing.filter((index) => !copied.has(index));
    for (const [first, last] of runsOf(wanted, table)) {
      const from = table.start(first);
      const bytes = await shared.read(file, from, table.start(last + 1) - from);
      if (!bytes) break; // nor will there be the rest of it
      for (let index = first; index <= last; index++) {
        const chunk = bytes.subarray(table.start(index) - from, table.start(index + 1) - from);
        if (!isChunk(table.chunk(index), chunk)) return shared.wrong(file.content);
        found.push({ index, bytes: chunk });
        copied.set(index, chunk);
      }
    }
    if (found.length === 0 || shared.direct || this.#copies.isComing(file.content)) return;
    const [only] = table.chunks.length === 1 ? found : [];
    const kept = only
      ? this.#keeper.keepFile(file, only.bytes)
      : this.#keeper.keepChunks(chunked, found);
    if (when === 'now') await kept;
  }
}

/** Chunks that lie beside each other, of so many bytes at most, as first and last. */
function runsOf(indexes: readonly number[], table: ChunkedFile['table']): [number, number][] {
  const runs: [number, number][] = [];
  for (const index of indexes) {
    const run = runs.at(-1);
    const fits = run && table.start(index + 1) - table.start(run[0]) <= sharedBytesMax;
    if (run && fits && run[1] === index - 1) run[1] = index;
    else runs.push([index, index]);
  }
  return runs;
}
