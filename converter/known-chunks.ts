import { ContentTable } from '../src/chunk/content-table.js';
import type { Chunk, FileChunks, Pack } from '../src/chunk/frame.js';
import type { Digest } from '../src/digest.js';
import type { UsablePacks } from './usable-packs.js';

/** A chunk of another image, and the pack that it is in. */
export interface OlderChunk {
  readonly chunk: Chunk;
  readonly pack: Pack;
}

/** A source of chunks that may be in the store already: all that it knows of one, best first. */
export type FindOlder = (digest: Digest) => readonly OlderChunk[];

/** Chunks that need not be written again: of this image's earlier layers, then of older images. */
export class KnownChunks {
  readonly #usable: UsablePacks;
  readonly #own = new ContentTable();
  readonly #older: FindOlder[] = [];
  readonly #packs = new Map<Digest, Pack>();

  constructor(usable: UsablePacks) {
    this.#usable = usable;
  }

  addOlder(find: FindOlder): void {
    this.#older.push(find);
  }

  /** A layer that was converted, now or before. @returns the packs that its files are in */
  addLayer(files: Iterable<FileChunks>): Pack[] {
    const needed = new Set<Digest>();
    for (const file of files) {
      this.#own.takeFile(file);
      for (const { frame } of file.chunks) needed.add(frame.pack);
    }
    const packs = [...needed].sort().flatMap((digest) => this.#usable.get(digest) ?? []);
    for (const pack of packs) this.#packs.set(pack.digest, pack);
    return packs;
  }

  /** The contents of all layers. */
  get contents(): ContentTable {
    return this.#own;
  }

  /** The packs of all layers, in an order that does not depend on when each was converted. */
  get packs(): readonly Pack[] {
    return [...this.#packs.values()];
  }

  /** Where a chunk is; a promise if the store has to be asked. */
  find(digest: Digest): Chunk | undefined | Promise<Chunk | undefined> {
    const own = this.#own.findChunk(digest);
    if (own >= 0) return this.#own.chunkAt(own);
    for (const find of this.#older) {
      for (const { chunk, pack } of find(digest)) {
        const usable = this.#usable.ask(pack);
        if (usable === true) return chunk;
        if (usable !== false) return usable.then((yes) => (yes ? chunk : this.find(digest)));
      }
    }
    return undefined;
  }
}
