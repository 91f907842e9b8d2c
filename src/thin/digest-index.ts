import { randomInt } from 'node:crypto';
import { type Digest, digestBytes, digestSize } from '../digest.js';

/** Two bytes of a digest are multiplied at a time, so that sums stay exact in a double. */
const pieces = digestSize / 2;
const prime = 2 ** 32 - 5;
/**
 * Secret multipliers of a universal hash (Carter and Wegman). The digests of a chunk map are claims:
 * whoever wrote them could choose ones that fall into one bucket of any hash known beforehand.
 */
const multipliers = Array.from({ length: pieces }, () => randomInt(1, prime));

/** Row numbers of a column of raw digests, found by digest. About 8 bytes of memory per row. */
export class DigestIndex {
  readonly #column: Buffer;
  /** Row + 1 at the head of each bucket; 0: empty. */
  readonly #heads: Uint32Array;
  /** Row + 1 of the next in the same bucket. */
  readonly #next: Uint32Array;

  private constructor(column: Buffer, rows: number) {
    this.#column = column;
    this.#heads = new Uint32Array(2 ** Math.ceil(Math.log2(rows + 1)));
    this.#next = new Uint32Array(rows);
  }

  /** @returns the index, or the number of a row whose digest an earlier row has already. */
  static build(column: Buffer): DigestIndex | { readonly duplicate: number } {
    const rows = column.length / digestSize;
    const index = new DigestIndex(column, rows);
    for (let row = 0; row < rows; row++) {
      const bucket = index.#bucketOf(column, row * digestSize);
      if (index.#findIn(bucket, column, row * digestSize) >= 0) return { duplicate: row };
      index.#next[row] = index.#heads[bucket] ?? 0;
      index.#heads[bucket] = row + 1;
    }
    return index;
  }

  /** @returns the row of `digest`, or -1. */
  find(digest: Digest): number {
    return this.findBytes(digestBytes(digest), 0);
  }

  /** @returns the row of the raw digest at `offset` of `bytes`, or -1. */
  findBytes(bytes: Buffer, offset: number): number {
    return this.#findIn(this.#bucketOf(bytes, offset), bytes, offset);
  }

  #findIn(bucket: number, bytes: Buffer, offset: number): number {
    for (let row = this.#heads[bucket] ?? 0; row !== 0; row = this.#next[row - 1] ?? 0) {
      const at = (row - 1) * digestSize;
      if (bytes.compare(this.#column, at, at + digestSize, offset, offset + digestSize) === 0) {
        return row - 1;
      }
    }
    return -1;
  }

  #bucketOf(bytes: Buffer, offset: number): number {
    let sum = 0;
    for (let piece = 0; piece < pieces; piece++) {
      sum += (multipliers[piece] ?? 0) * bytes.readUInt16LE(offset + 2 * piece);
    }
    return (sum % prime) % this.#heads.length;
  }
}
