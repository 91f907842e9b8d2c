import { randomInt } from 'node:crypto';
import { type Digest, digestFromBytes, digestHex, digestSize } from '../digest.js';

/** Slots of an empty table; a power of two, as all later numbers of them. */
const firstSlots = 512;
/**
 * Secret odd multipliers: whoever makes an image can make contents whose digests begin alike, and
 * would choose them for one bucket of a hash that he knows.
 */
const [firstMultiplier, secondMultiplier] = [oddNumber(), oddNumber()];

function oddNumber(): number {
  return randomInt(2 ** 31) * 2 + 1;
}

/**
 * Digests, each once, numbered in the order in which they came: 40 to 80 bytes a digest, where a Map
 * of strings takes 150.
 */
export class DigestTable {
  #digests = Buffer.allocUnsafeSlow((firstSlots / 2) * digestSize);
  /** Row + 1 of open addressing, at most half full; 0: empty. */
  #slots = new Uint32Array(firstSlots);
  #size: number = 0;
  readonly #wanted = Buffer.allocUnsafeSlow(digestSize);

  get size(): number {
    return this.#size;
  }

  at(row: number): Digest {
    return digestFromBytes(this.#digests, row * digestSize);
  }

  /** The raw digests of all rows. Valid until the next one is added. */
  get bytes(): Buffer {
    return this.#digests.subarray(0, this.#size * digestSize);
  }

  /** As `sort` wants it. */
  compare(a: number, b: number): number {
    const [first, second] = [a * digestSize, b * digestSize];
    const bytes = this.#digests;
    return bytes.compare(bytes, second, second + digestSize, first, first + digestSize);
  }

  /** @returns the row of `digest`, or -1 */
  find(digest: Digest): number {
    return (this.#slots[this.#slotOf(digest)] ?? 0) - 1;
  }

  /** @returns the row of `digest`, a new one if it was not there: that is `size` before the call */
  add(digest: Digest): number {
    const slot = this.#slotOf(digest);
    const known = this.#slots[slot] ?? 0;
    if (known > 0) return known - 1;
    const row = this.#size++;
    this.#wanted.copy(this.#digests, row * digestSize);
    this.#slots[slot] = row + 1;
    if (2 * this.#size === this.#slots.length) this.#grow();
    return row;
  }

  /** Where the digest is, or would go; leaves it in `#wanted`. */
  #slotOf(digest: Digest): number {
    this.#wanted.write(digestHex(digest), 0, digestSize, 'hex');
    let slot = this.#startOf(this.#wanted, 0);
    for (;;) {
      const row = (this.#slots[slot] ?? 0) - 1;
      if (row < 0 || this.#isWanted(row)) return slot;
      slot = (slot + 1) & (this.#slots.length - 1);
    }
  }

  #isWanted(row: number): boolean {
    const at = row * digestSize;
    return this.#wanted.compare(this.#digests, at, at + digestSize) === 0;
  }

  #startOf(bytes: Buffer, at: number): number {
    const sum =
      Math.imul(bytes.readUInt32LE(at), firstMultiplier) +
      Math.imul(bytes.readUInt32LE(at + 4), secondMultiplier);
    return (sum >>> 0) >>> (Math.clz32(this.#slots.length) + 1);
  }

  #grow(): void {
    const digests = Buffer.allocUnsafeSlow(2 * this.#digests.length);
    this.#digests.copy(digests);
    this.#digests = digests;
    this.#slots = new Uint32Array(2 * this.#slots.length);
    for (let row = 0; row < this.#size; row++) {
      let slot = this.#startOf(digests, row * digestSize);
      while ((this.#slots[slot] ?? 0) > 0) slot = (slot + 1) & (this.#slots.length - 1);
      this.#slots[slot] = row + 1;
    }
  }
}
