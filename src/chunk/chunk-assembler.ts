import type { Run } from '../../native-bindings/cut-and-hash.js';
import { ThinError } from '../errors.js';
import { cutterParameters } from './cutter.js';

const zeros = Buffer.alloc(cutterParameters.maximum);

/** The runs of one batch and the bytes of those that are no holes. */
interface Stretches {
  readonly runs: readonly Run[];
  readonly bytes: Buffer;
}

/**
 * Finds the bytes of chunks, told by their lengths, in the batches that they came in. Chunks that lie
 * in one piece are not copied; the start of one that goes on in the next batch is.
 */
export class ChunkAssembler {
  readonly #partial = Buffer.allocUnsafeSlow(cutterParameters.maximum);
  #partialLength: number = 0;
  #stretches: Stretches = { runs: [], bytes: zeros };
  #run: number = 0;
  #offsetInRun: number = 0;
  #offset: number = 0;

  /** Goes on with the next batch. */
  open(stretches: Stretches): void {
    this.#stretches = stretches;
    this.#run = 0;
    this.#offsetInRun = 0;
    this.#offset = 0;
  }

  /** The next chunk. The bytes are valid until the next call, and as long as the batch is. */
  take(length: number): Buffer {
    if (this.#partialLength === 0) {
      const piece = this.#piece(length);
      if (piece.length === length) return piece;
      this.#keep(piece);
    }
    while (this.#partialLength < length) this.#keep(this.#piece(length - this.#partialLength));
    this.#partialLength = 0;
    return this.#partial.subarray(0, length);
  }

  /** Keeps what is left of the batch: the start of a chunk that does not end in it. */
  close(): void {
    for (;;) {
      const piece = this.#piece(this.#partial.length - this.#partialLength);
      if (piece.length === 0) return;
      this.#keep(piece);
    }
  }

  #keep(piece: Buffer): void {
    if (piece.length === 0) throw new ThinError('invalid', 'Cannot find chunk: the batch is over');
    piece.copy(this.#partial, this.#partialLength);
    this.#partialLength += piece.length;
  }

  /** At most `lengthMax` bytes that lie together; none at the end of the batch. */
  #piece(lengthMax: number): Buffer {
    const { runs, bytes } = this.#stretches;
    let run = runs[this.#run];
    while (run && this.#offsetInRun === run.length) {
      this.#offsetInRun = 0;
      run = runs[++this.#run];
    }
    if (!run) return zeros.subarray(0, 0);
    const length = Math.min(lengthMax, run.length - this.#offsetInRun);
    this.#offsetInRun += length;
    if (run.hole) return zeros.subarray(0, length);
    this.#offset += length;
    return bytes.subarray(this.#offset - length, this.#offset);
  }
}
