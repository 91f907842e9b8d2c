import type { Digest } from '../digest.js';
import { isThinError } from '../errors.js';
import type { FileChunkList, IndexChanges, IndexedFile, IndexTotals } from './index-files.js';
import type { CacheIndex } from './index-thread.js';

/** Milliseconds between a change and the transaction that records it with all others. */
const flushMs = 500;
/** Changes that are recorded at once, and that are sent in one message (some ms of copying). */
const batchMax = 1000;
/** Changes kept while the index cannot take them; beyond it they are found by the next start. */
const waitingMax = 200_000;

/** Gathers what happens to files and records it in the index, many in one transaction. */
export class IndexFeed {
  readonly #index: CacheIndex;
  readonly #recording: () => (totals: IndexTotals) => void;
  readonly #onFailure: (error: unknown) => void;
  #placed = new Map<string, IndexedFile>();
  #removed = new Map<string, Pick<IndexedFile, 'kind' | 'name'>>();
  #touched = new Set<Digest>();
  #chunks: FileChunkList[] = [];
  #timer: NodeJS.Timeout | undefined;
  #flushing: Promise<void> = Promise.resolve();
  #lossless = true;

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
    this.#placed.set(file.kind + file.name, file);
    this.#schedule();
  }

  removed(kind: IndexedFile['kind'], name: string): void {
    this.#placed.delete(kind + name);
    this.#removed.set(kind + name, { kind, name });
    this.#schedule();
  }

  touched(content: Digest): void {
    this.#touched.add(content);
    this.#schedule();
  }

  chunks(list: FileChunkList): void {
    for (let at = 0; at < list.digests.length; at += batchMax) {
      this.#chunks.push({
        content: list.content,
        digests: list.digests.slice(at, at + batchMax),
        offsets: list.offsets.slice(at, at + batchMax),
      });
    }
    this.#schedule();
  }

  /** Records what happened before this call. Never fails; what failed is tried again later. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#flushing = this.#flushing.then(() => this.#flushAll());
    return this.#flushing;
  }

  get #waiting(): number {
    return (
      this.#placed.size + this.#removed.size + this.#touched.size + this.#chunks.length * batchMax
    );
  }

  #schedule(): void {
    if (this.#waiting === batchMax) void this.flush();
    else this.#timer ??= setTimeout(() => void this.flush(), flushMs).unref();
  }

  async #flushAll(): Promise<void> {
    while (this.#waiting > 0) {
      const changes = this.#take();
      const recorded = this.#recording();
      try {
        const totals = await this.#index.call('apply', changes);
        // Else some of what was written waits for the next round.
        if (changes.placed.length < batchMax) recorded(totals);
      } catch (error) {
        this.#onFailure(error);
        this.#putBack(changes, error);
        return;
      }
    }
  }

  #take(): IndexChanges {
    const chunks = this.#chunks.splice(0, 1);
    const changes = {
      placed: takeFrom(this.#placed, batchMax),
      removed: takeFrom(this.#removed, batchMax),
      touched: [...this.#touched].slice(0, batchMax),
      chunks,
    };
    for (const content of changes.touched) this.#touched.delete(content);
    return changes;
  }

  /** A full disk will have room again; what was placed or removed in the meantime is newer. */
  #putBack(changes: IndexChanges, error: unknown): void {
    if (!isThinError(error, 'no-space') || this.#waiting > waitingMax) {
      this.#lossless = false;
      return;
    }
    for (const file of changes.placed) {
      const name = file.kind + file.name;
      if (!this.#placed.has(name) && !this.#removed.has(name)) this.#placed.set(name, file);
    }
    for (const file of changes.removed) this.#removed.set(file.kind + file.name, file);
    this.#chunks.unshift(...changes.chunks);
  }
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
