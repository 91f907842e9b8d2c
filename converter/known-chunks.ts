import type { Chunk, FileChunks, Pack } from '../src/chunk/frame.js';
import type { Digest } from '../src/digest.js';
import type { NewPack } from '../src/thin/publish-thin-image.js';

/** A source of chunks that are in the store already. */
export type FindChunk = (digest: Digest) => Chunk | undefined;

/** Chunks that need not be written again: of this image's earlier layers, then of older images. */
export class KnownChunks {
  readonly #own = new Map<Digest, Chunk>();
  readonly #older: FindChunk[] = [];
  readonly #packs = new Map<Digest, NewPack>();

  /** Chunks of packs that are in the store, or can be taken from where `packs` say. */
  addOlder(find: FindChunk, packs: Iterable<NewPack>): void {
    this.#older.push(find);
    for (const pack of packs) if (!this.#packs.has(pack.digest)) this.#packs.set(pack.digest, pack);
  }

  /** A layer was converted: into a pack of its own, if anything was new. */
  addLayer(files: readonly FileChunks[], pack: Pack | undefined): void {
    if (pack) this.#packs.set(pack.digest, pack);
    for (const { chunks } of files) {
      for (const chunk of chunks)
        if (!this.#own.has(chunk.digest)) this.#own.set(chunk.digest, chunk);
    }
  }

  find(digest: Digest): Chunk | undefined {
    const own = this.#own.get(digest);
    if (own) return own;
    for (const find of this.#older) {
      const chunk = find(digest);
      if (chunk) return chunk;
    }
    return undefined;
  }

  /** True if every pack that these files need is known. */
  hasPacksOf(files: readonly FileChunks[]): boolean {
    return files.every(({ chunks }) => chunks.every(({ frame }) => this.#packs.has(frame.pack)));
  }

  /** The packs that the files are in, in the order in which they are first needed. */
  packsOf(files: Iterable<FileChunks>): NewPack[] {
    const needed = new Map<Digest, NewPack>();
    for (const { chunks } of files) {
      for (const { frame } of chunks) {
        const pack = this.#packs.get(frame.pack);
        if (pack && !needed.has(frame.pack)) needed.set(frame.pack, pack);
      }
    }
    return [...needed.values()];
  }
}
