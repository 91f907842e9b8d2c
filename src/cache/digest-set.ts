import { type Digest, digestHex } from '../digest.js';

/** A digest as text, or its 32 bytes. */
export type AnyDigest = Digest | Buffer;

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

  has(digest: AnyDigest): boolean {
    return this.#find(...split(digest)) >= 0;
  }

  /** @returns true if it was not there */
  add(digest: AnyDigest): boolean {
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

/** Places of a set that grows, at first. */
const placesMin = 64;

/** A set of digests that grows, and forgets none. 64 bits of each count, as above. */
export class GrowingDigestSet {
  /** Pairs of words, twice as many as digests or more; a pair of zeros is empty. */
  #words = new Uint32Array(placesMin * 2);
  #count = 0;

  has(digest: AnyDigest): boolean {
    const [high, low] = split(digest);
    return this.#words[this.#placeOf(high, low) + 1] !== 0;
  }

  /** @returns true if it was not there */
  add(digest: AnyDigest): boolean {
    const [high, low] = split(digest);
    const at = this.#placeOf(high, low);
    if (this.#words[at + 1] !== 0) return false;
    this.#put(at, high, low);
    this.#count += 1;
    if (this.#count * 4 > this.#words.length) this.#grow();
    return true;
  }

  clear(): void {
    this.#words = new Uint32Array(placesMin * 2);
    this.#count = 0;
  }

  /** Where the pair is, or belongs. */
  #placeOf(high: number, low: number): number {
    const mask = this.#words.length - 1;
    let at = (high * 2) & mask;
    while (this.#words[at + 1] !== 0 && (this.#words[at] !== high || this.#words[at + 1] !== low)) {
      at = (at + 2) & mask;
    }
    return at;
  }

  #put(at: number, high: number, low: number): void {
    this.#words[at] = high;
    this.#words[at + 1] = low;
  }

  #grow(): void {
    const before = this.#words;
    this.#words = new Uint32Array(before.length * 2);
    for (let at = 0; at < before.length; at += 2) {
      const [high = 0, low = 0] = [before[at], before[at + 1]];
      if (low !== 0) this.#put(this.#placeOf(high, low), high, low);
    }
  }
}

/** Two words of it; the second is not 0. */
function split(digest: AnyDigest): [number, number] {
  if (typeof digest !== 'string') return [digest.readUInt32BE(0), digest.readUInt32BE(4) || 1];
  const hex = digestHex(digest);
  const word = (at: number) => Number.parseInt(hex.slice(at, at + wordDigits), 16);
  return [word(0), word(wordDigits) || 1];
}
