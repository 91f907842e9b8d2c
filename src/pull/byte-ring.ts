/** Bytes of a ring: some milliseconds of work for the thread that reads them. */
const ringBytes = 512 * 1024;

/** Bytes that are in a ring. */
export interface RingPart {
  readonly at: number;
  readonly length: number;
}

/**
 * The writing end of memory that two threads share: what is written is told to the other thread as
 * parts, by messages, and what that has used up is freed. Nothing is allocated on the way.
 */
export class RingWriter {
  readonly memory = new SharedArrayBuffer(ringBytes);
  readonly #bytes = Buffer.from(this.memory);
  #at = 0;
  #free = ringBytes;

  /** Bytes that are written and not freed. */
  get used(): number {
    return ringBytes - this.#free;
  }

  /** Writes as much of `bytes` as there is room for, in one piece; possibly none. */
  write(bytes: Buffer): RingPart {
    const at = this.#at;
    const length = Math.min(bytes.length, this.#free, ringBytes - at);
    bytes.copy(this.#bytes, at, 0, length);
    this.#free -= length;
    this.#at = (at + length) % ringBytes;
    return { at, length };
  }

  /** The other thread has used them up. */
  freed(bytes: number): void {
    this.#free += bytes;
  }
}
