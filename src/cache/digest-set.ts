import { type Digest, digestHex } from '../digest.js';

/** Places that a digest may take; the next one to come overwrites one of them. */
const ways = 4;
/** Hex digits of a word. */
const wordDigits = 8;

/**
 * A set of digests that forgets some when it is full: 8 bytes each, no objects. It keeps 64 bits of
 * each, which are as good as random; whoever makes a file whose digest shares them with another
 * file of his own gains nothing by it.
 */
export class DigestSet {
  /** Rows of `ways` pairs of words; a pair of zeros is empty. */
  readonly #words: Uint32Array;
  readonly #mask: number;
  #turn = 0;

  /** @param capacity digests, a power of two */
  constructor(capacity: number) {
    this.#words = new Uint32Array(capacity * 2);
    this.#mask = capacity / ways - 1;
  }

  has(digest: Digest): boolean {
    return this.#find(...split(digest)) >= 0;
  }

  /** @returns true if it was not there */
  add(digest: Digest): boolean {
    const [high, low] = split(digest);
    if (this.#find(high, low) >= 0) return false;
    const empty = this.#find(0, 0, high);
    const at = empty >= 0 ? empty : this.#row(high) + (this.#turn++ % ways) * 2;
    this.#words[at] = high;
    this.#words[at + 1] = low;
    return true;
  }

  delete(digest: Digest): void {
    const at = this.#find(...split(digest));
    if (at >= 0) this.#words.fill(0, at, at + 2);
  }

  clear(): void {
    this.#words.fill(0);
  }

  #row(high: number): number {
    return (high & this.#mask) * ways * 2;
  }

  /** Index of the pair in the row of `row`; -1 if it is not there. */
  #find(high: number, low: number, row = high): number {
    const first = this.#row(row);
    for (let at = first; at < first + ways * 2; at += 2) {
      if (this.#words[at] === high && this.#words[at + 1] === low) return at;
    }
    return -1;
  }
}

function split(digest: Digest): [number, number] {
  const hex = digestHex(digest);
  const word = (at: number) => Number.parseInt(hex.slice(at, at + wordDigits), 16);
  return [word(0), word(wordDigits)];
}
