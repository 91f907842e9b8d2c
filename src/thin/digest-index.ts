import { randomFillSync } from 'node:crypto';
import { type Digest, digestBytes, digestSize } from '../digest.js';

/**
 * Secret random words of a universal hash (Zobrist's, of the 3-independent ones): for each value of each byte
 * of a digest one, 32 KiB. The digests of a chunk map are claims: whoever wrote them could choose ones that
 * fall into one bucket of any hash known beforehand.
 */
const randomWords = randomFillSync(new Int32Array(digestSize * 256));

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
    const [heads, next] = [index.#heads, index.#next];
    for (let row = 0; row < rows; row++) {
      const bucket = bucketOf(column, row * digestSize, heads.length);
      const head = heads[bucket] ?? 0;
      if (head !== 0 && index.#findIn(head, column, row * digestSize) >= 0) {
        return { duplicate: row };
      }
      next[row] = head;
      heads[bucket] = row + 1;
    }
    return index;
  }

  /** @returns the row of `digest`, or -1. */
  find(digest: Digest): number {
    return this.findBytes(digestBytes(digest), 0);
  }

  /** @returns the row of the raw digest at `offset` of `bytes`, or -1. */
  findBytes(bytes: Buffer, offset: number): number {
    const head = this.#heads[bucketOf(bytes, offset, this.#heads.length)] ?? 0;
    return this.#findIn(head, bytes, offset);
  }

  /** @param head row + 1 of the first of a bucket */
  #findIn(head: number, bytes: Buffer, offset: number): number {
    const column = this.#column;
    for (let row = head; row !== 0; row = this.#next[row - 1] ?? 0) {
      const at = (row - 1) * digestSize;
      if (column[at] !== bytes[offset]) continue; // without a call
      if (bytes.compare(column, at, at + digestSize, offset, offset + digestSize) === 0) {
        return row - 1;
      }
    }
    return -1;
  }
}

/** @param buckets a power of two */
function bucketOf(bytes: Buffer, offset: number, buckets: number): number {
  let sum = 0;
  for (let piece = 0; piece < digestSize; piece++) {
    sum ^= randomWords[(piece << 8) | (bytes[offset + piece] ?? 0)] ?? 0;
  }
  return sum & (buckets - 1);
}
