import type { PieceMemory } from '../layer/piece-memory.js';

/** Bytes of a piece: a hundred small files, stored by one call. Some pieces are always in use. */
const pieceBytes = 512 * 1024;
/**
 * Pieces kept for the next use: as many as are ever in use at once, which are those being inflated,
 * parsed and spooled, and one for each call that stores files. One that is dropped and made anew is
 * garbage, of which V8 lets some tens of MiB lie.
 */
const freeMax = 16;
/** Of this thread: a layer uses what the one before it has left, which would lie there as garbage. */
const free: ArrayBuffer[] = [];

/**
 * Memory for the plain bytes of one layer. It is used again as soon as nothing needs it: taking new
 * memory for every MiB, and faulting its pages in, costs as much as a tenth of a pull.
 */
export class PiecePool implements PieceMemory {
  readonly #own = new WeakSet<ArrayBufferLike>();
  readonly #uses = new Map<ArrayBufferLike, number>();

  take(): Buffer {
    const memory = free.pop() ?? Buffer.allocUnsafeSlow(pieceBytes).buffer;
    this.#own.add(memory);
    this.retain(memory); // until it was parsed
    return Buffer.from(memory);
  }

  parsed(piece: Buffer): void {
    this.release(piece.buffer);
  }

  /** Something of this memory is needed until `release` is called as often. */
  retain(memory: ArrayBufferLike): void {
    if (this.#own.has(memory)) this.#uses.set(memory, (this.#uses.get(memory) ?? 0) + 1);
  }

  release(memory: ArrayBufferLike): void {
    const uses = (this.#uses.get(memory) ?? 0) - 1;
    if (uses > 0) {
      this.#uses.set(memory, uses);
    } else if (this.#uses.delete(memory) && memory instanceof ArrayBuffer) {
      if (free.length < freeMax) free.push(memory);
    }
  }
}
