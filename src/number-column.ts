/** Numbers that memory is taken for at a time: 64 KiB, and none of it is copied when the column grows. */
const chunkBits = 14;
const chunkLength = 2 ** chunkBits;

/** A list of numbers from 0 to 2^32 - 1 that grows: 4 bytes each, outside the JavaScript heap. */
export class NumberColumn {
  readonly #chunks: Uint32Array[] = [];
  #length: number = 0;

  get length(): number {
    return this.#length;
  }

  /** 0 for a row that is not there. */
  at(row: number): number {
    return this.#chunks[row >>> chunkBits]?.[row & (chunkLength - 1)] ?? 0;
  }

  /** Of a row that is there. */
  set(row: number, value: number): void {
    const chunk = this.#chunks[row >>> chunkBits];
    if (chunk !== undefined) chunk[row & (chunkLength - 1)] = value;
  }

  push(value: number): void {
    if (this.#length === this.#chunks.length * chunkLength) {
      this.#chunks.push(new Uint32Array(chunkLength));
    }
    this.#length += 1;
    this.set(this.#length - 1, value);
  }
}
