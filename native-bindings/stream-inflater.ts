import { ThinError } from '../src/errors.js';
import type { InflateStep } from './addon.js';
import { fromNativeError } from './native-error.js';

/** Bytes of one call's output: small enough for a queue of them, large enough for few calls. */
export const outputBytesMax = 1024 * 1024;
const outputBytesMin = 64 * 1024;
/** Guess of plain bytes for a compressed byte: the usual case is one call for each input. */
const usualRatio = 4;

const nothing = Buffer.alloc(0);

/**
 * One compressed stream, inflated on another thread, with bounded output: a bomb costs the caller
 * only what it asks for.
 *
 *     let plain = await inflater.push(bytes);
 *     for (;;) { use(plain); if (!inflater.more) break; plain = await inflater.push(); }
 */
export class StreamInflater {
  readonly #name: string;
  readonly #step: (input: Buffer, output: Buffer) => Promise<InflateStep>;
  #input: Buffer = nothing;
  #complete: boolean = false;
  #more: boolean = false;
  #state: 'ready' | 'busy' | 'over' = 'ready';

  constructor(name: string, step: (input: Buffer, output: Buffer) => Promise<InflateStep>) {
    this.#name = name;
    this.#step = step;
  }

  /** True while there is more to be had with `push()` before other bytes can be given. */
  get more(): boolean {
    return this.#more;
  }

  /** @see GzipInflater.push */
  async push(bytes: Buffer = nothing, reused?: Buffer): Promise<Buffer[]> {
    this.#checkReady();
    if (this.#more && bytes.length > 0) throw this.#misuse('output of the last bytes is left');
    if (bytes.length > 0) this.#input = bytes;
    const output = reused ?? this.#newOutput();
    this.#state = 'busy';
    try {
      const [consumed, produced, complete] = await this.#step(this.#input, output);
      this.#input = this.#input.subarray(consumed);
      this.#complete = complete;
      this.#more = produced === output.length || this.#input.length > 0;
      this.#state = 'ready';
      return produced > 0 ? [output.subarray(0, produced)] : [];
    } catch (error) {
      this.#state = 'over';
      throw fromNativeError(`Cannot inflate ${this.#name} stream`, error);
    }
  }

  #newOutput(): Buffer {
    const wanted = Math.max(this.#input.length * usualRatio, outputBytesMin);
    return Buffer.allocUnsafeSlow(Math.min(wanted, outputBytesMax));
  }

  /** @see GzipInflater.end */
  end(): void {
    this.#checkReady();
    if (this.#more) throw this.#misuse('output of the last bytes is left');
    this.#state = 'over';
    this.#input = nothing;
    if (!this.#complete) {
      throw new ThinError('corrupt', `Cannot inflate ${this.#name} stream: it ends too early`);
    }
  }

  #checkReady(): void {
    if (this.#state === 'busy') throw this.#misuse('the last call has not ended');
    if (this.#state === 'over') throw this.#misuse('it is over');
  }

  #misuse(reason: string): ThinError {
    return new ThinError('invalid', `Cannot use ${this.#name} inflater: ${reason}`);
  }
}
