/** One bit for each of `length` things, in memory as on disk: bit `i` is bit `i % 8` of byte `i >> 3`. */
export class Bitmap {
  readonly length: number;
  readonly bytes: Buffer;
  #count = 0;

  /** @param bytes an earlier bitmap's bytes, at least `ceil(length / 8)` of them; copied */
  constructor(length: number, bytes?: Buffer) {
    this.length = length;
    this.bytes = Buffer.alloc(Math.ceil(length / 8));
    if (bytes === undefined) return;
    for (let at = 0; at < length; at++) {
      if (((bytes[at >> 3] ?? 0) & (1 << (at & 7))) !== 0) this.set(at);
    }
  }

  get count(): number {
    return this.#count;
  }

  get full(): boolean {
    return this.#count === this.length;
  }

  has(at: number): boolean {
    return ((this.bytes[at >> 3] ?? 0) & (1 << (at & 7))) !== 0;
  }

  /** True if every bit of `first` to `last`, both included, is set. */
  hasAll(first: number, last: number): boolean {
    for (let at = first; at <= last; at++) if (!this.has(at)) return false;
    return true;
  }

  set(at: number): void {
    if (this.has(at)) return;
    this.bytes[at >> 3] = (this.bytes[at >> 3] ?? 0) | (1 << (at & 7));
    this.#count++;
  }

  clear(at: number): void {
    if (!this.has(at)) return;
    this.bytes[at >> 3] = (this.bytes[at >> 3] ?? 0) & ~(1 << (at & 7));
    this.#count--;
  }

  setAll(): void {
    for (let at = 0; at < this.length; at++) this.set(at);
  }
}
