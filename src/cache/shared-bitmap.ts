/**
 * One bit for each of `length` things in shared memory: bit `i % 32` of word `i / 32`. One thread
 * sets bits, others may look at them with `Atomics.load`; a bit that is set stays set.
 */
export class SharedBitmap {
  readonly length: number;
  readonly words: Int32Array;
  #count = 0;

  constructor(length: number) {
    this.length = length;
    this.words = new Int32Array(new SharedArrayBuffer(Math.ceil(length / 32) * 4));
  }

  get full(): boolean {
    return this.#count === this.length;
  }

  has(at: number): boolean {
    return ((this.words[at >>> 5] ?? 0) & (1 << (at & 31))) !== 0;
  }

  /** True if every bit of `first` to `last`, both included, is set. */
  hasAll(first: number, last: number): boolean {
    for (let at = first; at <= last; at++) if (!this.has(at)) return false;
    return true;
  }

  set(at: number): void {
    if (this.has(at)) return;
    Atomics.or(this.words, at >>> 5, 1 << (at & 31));
    this.#count++;
  }
}
