import type { Digest } from '../digest.js';

/** A chunk and its plain bytes. */
export interface KnownChunk {
  readonly digest: Digest;
  readonly bytes: Buffer;
}

/** Bits of a sum that are shifted out with each byte: eleven bytes are in it. */
const shift = 3;
/** Of all places, one in so many is remembered: those whose sum begins with six zeros. */
const sampleShift = 26;
/** Places that are remembered: 8 MiB of memory; a later one takes the place of an earlier one. */
const placesMax = 2 ** 20;
/** What two chunks have in common by chance. */
const commonMin = 2;

/** Finds, among known chunks, those that have most in common with given bytes, wherever it is in them. */
export class SimilarChunks {
  readonly #chunks: readonly KnownChunk[];
  /** By sum: the sum, and the number of the chunk that has it. */
  readonly #sums = new Int32Array(placesMax);
  readonly #owners = new Int32Array(placesMax).fill(-1);

  constructor(chunks: readonly KnownChunk[]) {
    this.#chunks = chunks;
    for (const [number, { bytes }] of chunks.entries()) {
      sample(bytes, (sum) => {
        const place = sum & (placesMax - 1);
        this.#sums[place] = sum;
        this.#owners[place] = number;
      });
    }
  }

  /**
   * The most similar ones, of so many bytes together at most, the most similar at the end: what is
   * nearest to a frame is cheapest to refer to.
   */
  nearest(bytes: Buffer, bytesMax: number): KnownChunk[] {
    const common = new Map<number, number>();
    sample(bytes, (sum) => {
      const place = sum & (placesMax - 1);
      const owner = this.#sums[place] === sum ? this.#owners[place] : undefined;
      if (owner !== undefined && owner >= 0) common.set(owner, (common.get(owner) ?? 0) + 1);
    });
    const rated = [...common].filter(([, count]) => count >= commonMin);
    rated.sort(([a, countA], [b, countB]) => countB - countA || a - b);
    const nearest: KnownChunk[] = [];
    let room = bytesMax;
    for (const [number] of rated) {
      const chunk = this.#chunks[number];
      if (!chunk || chunk.bytes.length > room) continue;
      room -= chunk.bytes.length;
      nearest.push(chunk);
    }
    return nearest.reverse();
  }
}

/** Calls `take` with the sums of some places, chosen by what is there and not by where it is. */
function sample(bytes: Buffer, take: (sum: number) => void): void {
  let sum = 0;
  for (const byte of bytes) {
    sum = ((sum << shift) + (numbers[byte] ?? 0)) | 0;
    if (sum >>> sampleShift === 0) take(sum);
  }
}

/** A number for each byte that looks like chance, and is always the same (a xorshift generator). */
const numbers = new Int32Array(256);
for (let byte = 0, state = 0x9e3779b9; byte < numbers.length; byte++) {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  numbers[byte] = state;
}
