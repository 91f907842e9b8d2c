/** Numbers of an empty column. */
const firstCapacity = 256;

/** A list of numbers from 0 to 2^32 - 1 that grows: 4 to 8 bytes each, outside the JavaScript heap. */
export class NumberColumn {
  #values = new Uint32Array(firstCapacity);
  #length: number = 0;

  get length(): number {
    return this.#length;
  }

  /** 0 for a row that is not there. */
  at(row: number): number {
    return this.#values[row] ?? 0;
  }

  /** Of a row that is there. */
  set(row: number, value: number): void {
    this.#values[row] = value;
  }

  push(value: number): void {
    if (this.#length === this.#values.length) {
      const larger = new Uint32Array(2 * this.#length);
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[this.#length++] = value;
  }
}
