import { ThinError } from '../errors.js';
import type { RingPart } from './byte-ring.js';

/** Pieces shorter than this may be kept by their reader, which gathers enough to begin with. */
const copiedBytesMax = 4096;
/** Bytes of one piece: where more has come than was used up, few large pieces cost less than many. */
const pieceBytesMax = 256 * 1024;

/**
 * Bytes that another thread writes into shared memory, as a source. A piece is valid until the next one
 * is asked for.
 */
export class SentBytes {
  readonly #bytes: Buffer;
  readonly #queue: RingPart[] = [];
  #end: 'complete' | 'canceled' | undefined;
  #wake: () => void = () => undefined;

  constructor(memory: SharedArrayBuffer) {
    this.#bytes = Buffer.from(memory);
  }

  push(part: RingPart): void {
    const last = this.#queue.at(-1);
    const joined = (last?.length ?? 0) + part.length;
    if (last && last.at + last.length === part.at && joined <= pieceBytesMax) {
      this.#queue[this.#queue.length - 1] = { at: last.at, length: joined };
    } else {
      this.#queue.push(part);
    }
    this.#wake();
  }

  /** Nothing more comes: the source was whole, or failed. */
  end(how: 'complete' | 'canceled'): void {
    this.#end = how;
    this.#wake();
  }

  /**
   * @param onTaken told when a piece was used up
   * @throws ThinError `canceled` if the sender's source has failed
   */
  async *pieces(onTaken: (bytes: number) => void): AsyncGenerator<Buffer, void> {
    for (;;) {
      if (this.#end === 'canceled') throw new ThinError('canceled', 'Cannot read layer: canceled');
      const part = this.#queue.shift();
      if (part !== undefined) {
        const piece = this.#bytes.subarray(part.at, part.at + part.length);
        yield part.length < copiedBytesMax ? Buffer.from(piece) : piece;
        onTaken(part.length);
      } else if (this.#end === 'complete') {
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }
}
