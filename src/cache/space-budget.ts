/** Part of the quota at which eviction begins, and down to which it goes. */
const highWater = 0.95;
const lowWater = 0.9;
/** Milliseconds for which nothing is kept after the disk was full. */
const fullMs = 2000;
/** Part of the cache that makes room on a full disk, so that not every file meets its end. */
const fullShare = 0.05;
const fullBytesMin = 1024 * 1024;

export interface SpaceLimits {
  readonly quotaBytes: number;
  readonly freeSpaceFloorBytes: number;
}

/** How much eviction should free: `wanted` of files that nothing mounted uses, `needed` of any. */
export interface SpaceDemand {
  readonly wanted: number;
  readonly needed: number;
}

/** What the cache may take of the disk, and what it has taken. Pure: told everything, does nothing. */
export class SpaceBudget {
  readonly limits: SpaceLimits;
  readonly #now: () => number;
  #recorded = 0;
  /** Bytes on their way to the disk, and bytes that are there and may not be recorded yet. */
  #inFlight = 0;
  #unrecorded = 0;
  #written = 0;
  #free = Number.POSITIVE_INFINITY;
  #fullUntil = Number.NEGATIVE_INFINITY;
  /** Bytes that somebody waits to be given. */
  #asked = 0;
  /** Bytes that a full disk still wants freed. */
  #fullBytes = 0;

  /** @param now milliseconds of a clock that never jumps */
  constructor(limits: SpaceLimits, now: () => number) {
    this.limits = limits;
    this.#now = now;
  }

  get usedBytes(): number {
    return this.#recorded + this.#inFlight + this.#unrecorded;
  }

  /** May `bytes` more be written? Counts them if so; `written` is to follow. */
  admit(bytes: number): boolean {
    const { quotaBytes, freeSpaceFloorBytes } = this.limits;
    if (this.#now() < this.#fullUntil || this.usedBytes + bytes > quotaBytes) return false;
    if (this.#free - bytes < freeSpaceFloorBytes) return false;
    this.#inFlight += bytes;
    this.#free -= bytes;
    return true;
  }

  /** Bytes that would be admitted now. */
  get roomBytes(): number {
    const { quotaBytes, freeSpaceFloorBytes } = this.limits;
    if (this.#now() < this.#fullUntil) return 0;
    return Math.max(0, Math.min(quotaBytes - this.usedBytes, this.#free - freeSpaceFloorBytes));
  }

  /** Is there room for `bytes` more below the mark at which eviction begins? */
  fits(bytes: number): boolean {
    const { quotaBytes, freeSpaceFloorBytes } = this.limits;
    if (this.#now() < this.#fullUntil) return false;
    const usedAfter = this.usedBytes + bytes;
    return usedAfter <= quotaBytes * highWater && this.#free - bytes >= freeSpaceFloorBytes;
  }

  /** From here on eviction makes room for `bytes` more; asked back with a negative number. */
  ask(bytes: number): void {
    this.#asked += bytes;
  }

  /** What was admitted is on the disk, or was given up. */
  written(bytes: number): void {
    this.#inFlight -= bytes;
    this.#unrecorded += bytes;
    this.#written += bytes;
  }

  /** All that was ever written: what the index is asked to record now is told by it later. */
  get writtenBytes(): number {
    return this.#written;
  }

  /**
   * The index has recorded what was written before, and this is the sum.
   * @param writtenBefore {@link writtenBytes} as it was when the index was asked
   */
  recorded(bytes: number, writtenBefore: number): void {
    this.#recorded = bytes;
    this.#unrecorded = this.#written - writtenBefore;
  }

  freed(bytes: number): void {
    this.#recorded = Math.max(0, this.#recorded - bytes);
    this.#free += bytes;
    this.#fullBytes = Math.max(0, this.#fullBytes - bytes);
    if (this.#fullBytes === 0) this.#fullUntil = Number.NEGATIVE_INFINITY;
  }

  /** Bytes of the disk that nobody has taken yet, as far as is known. */
  get freeBytes(): number {
    return this.#free;
  }

  /** What the file system says is free. */
  measured(freeBytes: number): void {
    this.#free = freeBytes;
  }

  /** The disk has no room (or no inodes) in spite of all counting. */
  full(): void {
    this.#fullBytes = Math.max(fullBytesMin, this.usedBytes * fullShare);
    this.#fullUntil = this.#now() + fullMs;
  }

  get demand(): SpaceDemand {
    const { quotaBytes, freeSpaceFloorBytes } = this.limits;
    const used = this.usedBytes;
    const belowFloor = Math.max(0, freeSpaceFloorBytes - this.#free + this.#asked);
    const reserve = belowFloor > 0 ? quotaBytes * (1 - highWater) : 0;
    const tooMuch = Math.max(0, used - quotaBytes * highWater);
    const excess = Math.max(tooMuch, used + this.#asked - quotaBytes);
    const toLowWater = tooMuch > 0 ? used - quotaBytes * lowWater : 0;
    return {
      wanted: Math.max(toLowWater, excess, belowFloor + reserve, this.#fullBytes),
      needed: Math.max(excess, belowFloor, this.#fullBytes),
    };
  }
}
