import { packedCount } from './packed-files.js';

/** Files that wait at most: 48 bytes for each; beyond it all are told at once. */
const waitingMax = 500_000;

/** Files that were placed in a tier, as packed-files.ts has them. */
export interface PlacedFiles {
  readonly tier: string;
  readonly files: readonly Buffer[];
}

/**
 * Lists of files that the index is to be told of when there is time: recording 70 000 files takes a core
 * for a second, which whoever stores them needs until then. The disk has them all the same, and an
 * index that was never told finds them when it is opened next.
 */
export class DeferredRecords {
  readonly #tell: (placed: PlacedFiles) => void;
  #waiting: PlacedFiles[] = [];
  #count = 0;
  #deferrals = 0;

  /** @param tell the index */
  constructor(tell: (placed: PlacedFiles) => void) {
    this.#tell = tell;
  }

  /** Nothing is told by itself until this, and all others like it, are disposed. */
  defer(): Disposable {
    let ended = false;
    this.#deferrals += 1;
    return {
      [Symbol.dispose]: () => {
        if (ended) return;
        ended = true;
        this.#deferrals -= 1;
        if (this.#deferrals === 0) this.tellAll();
      },
    };
  }

  get isDeferring(): boolean {
    return this.#deferrals > 0;
  }

  placed(placed: PlacedFiles): void {
    this.#waiting.push(placed);
    for (const files of placed.files) this.#count += packedCount(files);
    if (this.#deferrals === 0 || this.#count > waitingMax) this.tellAll();
  }

  /** Tells what waits, all of a tier as one list. */
  tellAll(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#count = 0;
    for (const tier of new Set(waiting.map((placed) => placed.tier))) {
      const ofTier = waiting.filter((placed) => placed.tier === tier);
      this.#tell({ tier, files: ofTier.flatMap(({ files }) => files) });
    }
  }
}
