import { chooseVictims, type EvictionState } from '../../src/cache/eviction-policy.js';
import { evictionCalls } from '../../src/cache/index-eviction.js';
import { fileCalls, type IndexedFile } from '../../src/cache/index-files.js';
import { openIndex } from '../../src/cache/index-schema.js';
import { digestOf } from '../../src/digest.js';
import { replacement } from '../../src/pop/replacement.js';
import type { ReplacementPolicy } from '../../src/pop-option.js';

/** Files that are looked at for victims at a time. */
const pageFiles = 16;
const tier = 'local';
const nothingSpecial: EvictionState = { inUse: () => false, isLast: () => false };

/** A disk of bounded size, without the disk. */
export interface SimulatedDisk extends Disposable {
  /** A blob is wanted, and is on the disk then, if it fits. @returns whether it was before */
  use(blob: string, size: number): boolean;
}

/** @param bytes that it holds */
export function simulatedDisk(policy: ReplacementPolicy, bytes: number): SimulatedDisk {
  return policy === 'lru' ? new IndexedDisk(bytes) : new RankedDisk(bytes);
}

/** Least recently used first: the index of a node's cache, in memory, and what chooses its victims. */
class IndexedDisk implements SimulatedDisk {
  readonly #bytesMax: number;
  readonly #index = openIndex(':memory:').database;
  readonly #files = fileCalls(this.#index);
  readonly #eviction = evictionCalls(this.#index);
  readonly #here = new Map<string, number>();
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  use(blob: string, size: number): boolean {
    const file = indexedFile(blob, size);
    const known = this.#here.has(file.name);
    const placed = known ? [] : [file];
    this.#files.apply({ placed, removed: [], touched: known ? [file.content] : [], chunks: [] });
    if (!known) this.#bytes += size;
    this.#here.set(file.name, size);
    while (this.#bytes > this.#bytesMax) this.#makeRoom();
    return known;
  }

  #makeRoom(): void {
    const page = this.#eviction.candidates(tier, { used: 0, id: 0 }, pageFiles);
    const victims = chooseVictims(page, this.#bytes - this.#bytesMax, 'free', nothingSpecial);
    if (victims.length === 0) throw new Error('Cannot make room: no file may go');
    this.#files.apply({ placed: [], removed: victims, touched: [], chunks: [] });
    for (const { name } of victims) {
      this.#bytes -= this.#here.get(name) ?? 0;
      this.#here.delete(name);
    }
  }

  [Symbol.dispose](): void {
    this.#index.close();
  }
}

const known = new Map<string, IndexedFile>();

/** One object for each blob, whatever disk it is on. */
function indexedFile(blob: string, size: number): IndexedFile {
  const found = known.get(blob);
  if (found?.size === size) return found;
  const content = digestOf(Buffer.from(blob));
  const name = content.slice('sha256:'.length);
  const file: IndexedFile = { kind: 'complete', name, tier, content, size, allocated: size };
  known.set(blob, file);
  return file;
}

/** By size and frequency: what keeps the frames of a site. */
class RankedDisk implements SimulatedDisk {
  readonly #bytesMax: number;
  readonly #kept = replacement<string>('gdsf');

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  use(blob: string, size: number): boolean {
    const hit = this.#kept.sizeOf(blob) !== undefined;
    this.#kept.used(blob, size);
    for (
      let victim = this.#kept.victim();
      this.#kept.bytes > this.#bytesMax && victim !== undefined;
    ) {
      this.#kept.removed(victim);
      victim = this.#kept.victim();
    }
    return hit;
  }

  [Symbol.dispose](): void {}
}
