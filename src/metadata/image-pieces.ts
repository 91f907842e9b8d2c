import { createHash } from 'node:crypto';
import { blockSize } from './erofs-layout.js';

/** Bytes gathered until they are written: many times the 300 KiB that one inode has at most. */
const windowBytes = 1024 * 1024;

/** Takes bytes of an image; they are valid during the call. */
export type WritePiece = (bytes: Buffer, at: number) => void;

/**
 * An image on its way out, in order: no more of it is in memory than a window. What is not filled in
 * is zeros.
 */
export class ImagePieces {
  /** Where bytes are put: see {@link place}. */
  readonly window = Buffer.alloc(windowBytes);
  readonly #write: WritePiece;
  readonly #hash = createHash('sha256');
  #start = 0;
  #head: Buffer | undefined;

  constructor(write: WritePiece) {
    this.#write = write;
  }

  /**
   * @param at in the image; never less than in the call before
   * @param length at most some hundred KiB
   * @returns where they go in the window, until the next call
   */
  place(at: number, length: number): number {
    if (at + length > this.#start + windowBytes) this.#flush(at);
    return at - this.#start;
  }

  /** All of the image is written. @returns its first block, and the SHA-256 of the whole */
  finish(size: number): { head: Buffer; digest: Buffer } {
    this.#flush(size);
    return { head: this.#head ?? Buffer.alloc(blockSize), digest: this.#hash.digest() };
  }

  #flush(end: number): void {
    while (this.#start < end) {
      const bytes = this.window.subarray(0, Math.min(end - this.#start, windowBytes));
      this.#head ??= Buffer.from(bytes.subarray(0, blockSize));
      this.#hash.update(bytes);
      this.#write(bytes, this.#start);
      this.#start += bytes.length;
      bytes.fill(0);
    }
  }
}
