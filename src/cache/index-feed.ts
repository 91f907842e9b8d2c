import type { Digest } from '../digest.js';
import { isThinError } from '../errors.js';
import type { ChunkPlaces } from './index-chunks.js';
import type { IndexChanges, IndexedFile, IndexTotals } from './index-files.js';
import type { CacheIndex } from './index-thread.js';
import { packedCount, packedPieces, unpackRawFiles } from './packed-files.js';

/** Milliseconds between a change and the transaction that records it with all others. */
const flushMs = 500;
/** Changes that are recorded at once: while they are, 10 ms, reads that ask for copies wait. */
const batchMax = 250;
/**
 * The same of files that come packed, by the ten thousand: a transaction writes each page of the index
 * that it touches, and a thousand digests touch nearly as many as ten thousand. Reads that ask for
 * copies wait for 0.1 s meanwhile, or fetch.
 */
const packedMax = 10_000;
/** Changes kept while the index cannot take them; beyond it they are found by the next start. */
const waitingMax = 200_000;

/** Complete files in a tier, as packed-files.ts has them. */
interface PackedList {
  readonly tier: string;
  readonly files: Buffer;
}

/** Gathers what happens to files and records it in the index, many in one transaction. */
export class IndexFeed {
  readonly #index: CacheIndex;
  readonly #recording: () => (totals: IndexTotals) => void;
  readonly #onFailure: (error: unknown) => void;
  #placed = new Map<string, IndexedFile>();
  #removed = new Map<string, Pick<IndexedFile, 'kind' | 'name'>>();
  #touched = new Set<Digest>();
  readonly #packed: PackedList[] = [];
  #packedCount = 0;
  #chunks: ChunkPlaces[] = [];
  #chunkCount = 0;
  #timer: NodeJS.Timeout | undefined;
  #flushing: Promise<void> = Promise.resolve();
  #lossless = true;
  /** A flush is going on, or the last one failed and the timer is to begin the next. */
  #patient = false;
  #closed: boolean = false;

  /** @param recording called when the index is asked; what it returns is told the answer */
  constructor(
    index: CacheIndex,
    recording: () => (totals: IndexTotals) => void,
    onFailure: (error: unknown) => void,
  ) {
    this.#index = index;
    this.#recording = recording;
    this.#onFailure = onFailure;
  }

  /** True while everything that happened is recorded, or waits to be. */
  get lossless(): boolean {
    return this.#lossless;
  }

  placed(file: IndexedFile): void {
    this.#placed.set(nameOf(file.kind, file.name), file);
    this.#schedule();
  }

  /** Many complete files, as packed-files.ts has them. */
  placedMany(tier: string, files: Buffer): void {
    this.#keepFromRemoval(files);
    for (const some of packedPieces(files, packedMax)) {
      this.#packed.push({ tier, files: some });
      this.#packedCount += packedCount(some);
    }
    while (this.#packedCount > waitingMax) {
      this.#takePacked();
      this.#lossless = false;
    }
    this.#schedule();
  }

  /** A removal that waits is of a file that was there before: these would go with it. */
  #keepFromRemoval(files: Buffer): void {
    if (this.#removed.size === 0) return;
    for (const { digest } of unpackRawFiles(files)) {
      this.#removed.delete(nameOf('complete', digest.toString('hex')));
    }
  }

  removed(kind: IndexedFile['kind'], name: string): void {
    this.#placed.delete(nameOf(kind, name));
    this.#removed.set(nameOf(kind, name), { kind, name });
    this.#schedule();
  }

  touched(content: Digest): void {
    this.#touched.add(content);
    this.#schedule();
  }

  chunks(places: ChunkPlaces): void {
    this.#chunks.push(places);
    this.#chunkCount += places.offsets.length;
    this.#schedule();
  }

  /** Records what happened before this call. Never fails; what failed is tried again later. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#patient = true;
    this.#flushing = this.#flushing.then(() => this.#flushAll());
    return this.#flushing;
  }

  get #waiting(): number {
    return this.#placed.size + this.#removed.size + this.#touched.size + this.#chunkCount;
  }

  /** From now on nothing is tried again by itself. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #schedule(): void {
    if (this.#closed) return;
    if (this.#waiting >= batchMax && !this.#patient) void this.flush();
    else this.#timer ??= setTimeout(() => void this.flush(), flushMs).unref();
  }

  /** What came by the ten thousand is recorded before what was removed after it. */
  async #flushAll(): Promise<void> {
    let recorded = true;
    while (recorded && (this.#packed.length > 0 || this.#waiting > 0)) {
      const packed = this.#takePacked();
      recorded = packed ? await this.#recordPacked(packed) : await this.#recordChanges();
    }
    this.#patient = !recorded;
    if (!recorded) this.#schedule();
  }

  /** False if they are to be tried again later. */
  async #recordChanges(): Promise<boolean> {
    const changes = this.#take();
    const recorded = this.#recording();
    try {
      const totals = await this.#index.call('apply', changes);
      // Else some of what was written waits for the next round.
      if (changes.placed.length < batchMax) recorded(totals);
      return true;
    } catch (error) {
      this.#onFailure(error);
      this.#putBack(changes, error);
      return false;
    }
  }

  /** False if they are to be tried again later. */
  async #recordPacked(packed: PackedList): Promise<boolean> {
    const recorded = this.#recording();
    try {
      // A copy: of a view, all memory that it is of would go to the other thread.
      const files = Buffer.from(packed.files);
      const totals = await this.#index.call('placePacked', packed.tier, files);
      if (this.#packed.length === 0) recorded(totals);
    } catch (error) {
      this.#onFailure(error);
      if (this.#mayWait(error)) {
        this.#packed.unshift(packed);
        this.#packedCount += packedCount(packed.files);
        return false;
      }
      this.#lossless = false; // the next start finds them
    }
    return true;
  }

  #takePacked(): PackedList | undefined {
    const next = this.#packed.shift();
    if (next !== undefined) this.#packedCount -= packedCount(next.files);
    return next;
  }

  /** A full disk will have room again. */
  #mayWait(error: unknown): boolean {
    return isThinError(error, 'no-space') && this.#waiting + this.#packedCount <= waitingMax;
  }

  #take(): IndexChanges {
    const placed = takeFrom(this.#placed, batchMax);
    const changes = {
      placed,
      removed: [...this.#takeRemovalsOf(placed), ...takeFrom(this.#removed, batchMax)],
      touched: [...this.#touched].slice(0, batchMax),
      chunks: this.#takeChunks(),
    };
    for (const content of changes.touched) this.#touched.delete(content);
    return changes;
  }

  /** What was removed before it was placed is recorded before: later it would take the new one with it. */
  #takeRemovalsOf(placed: readonly IndexedFile[]): Pick<IndexedFile, 'kind' | 'name'>[] {
    const removals: Pick<IndexedFile, 'kind' | 'name'>[] = [];
    for (const { kind, name } of placed) {
      if (this.#removed.delete(nameOf(kind, name))) removals.push({ kind, name });
    }
    return removals;
  }

  #takeChunks(): ChunkPlaces[] {
    const taken: ChunkPlaces[] = [];
    for (let count = 0; count < batchMax; ) {
      const places = this.#chunks.shift();
      if (places === undefined) break;
      taken.push(places);
      count += places.offsets.length;
      this.#chunkCount -= places.offsets.length;
    }
    return taken;
  }

  /** What was placed or removed in the meantime is newer. */
  #putBack(changes: IndexChanges, error: unknown): void {
    if (!this.#mayWait(error)) {
      this.#lossless = false;
      return;
    }
    for (const file of changes.placed) {
      const name = nameOf(file.kind, file.name);
      if (!this.#placed.has(name) && !this.#removed.has(name)) this.#placed.set(name, file);
    }
    for (const file of changes.removed) this.#removed.set(nameOf(file.kind, file.name), file);
    // They are perhaps here again, and go with what was removed before: the next start finds them.
    if (changes.removed.length > 0 && this.#packed.length > 0) this.#lossless = false;
    this.#chunks.push(...changes.chunks);
    for (const { offsets } of changes.chunks) this.#chunkCount += offsets.length;
  }
}

function nameOf(kind: IndexedFile['kind'], name: string): string {
  return kind + name;
}

function takeFrom<T>(map: Map<string, T>, limit: number): T[] {
  const taken: T[] = [];
  for (const [name, value] of map) {
    if (taken.length === limit) break;
    taken.push(value);
    map.delete(name);
  }
  return taken;
}
