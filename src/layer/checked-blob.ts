import type { Digest } from '../digest.js';
import { DigestCheck } from './digest-check.js';
import { malformedLayer } from './malformed-layer.js';

export interface BlobPromise {
  readonly digest: string | undefined;
  readonly size: number | undefined;
}

/** A stream stage that passes a blob on, and throws instead of ending if it is not as promised. */
export class CheckedBlob {
  readonly #source: AsyncIterable<Buffer>;
  readonly #size: number | undefined;
  readonly #check: DigestCheck;
  #length = 0;
  #digest: Digest | undefined;

  /** @throws ThinError `invalid` if the promised digest is none */
  constructor(source: AsyncIterable<Buffer>, promise: BlobPromise) {
    this.#source = source;
    this.#size = promise.size;
    this.#check = new DigestCheck('its digest', promise.digest);
  }

  /** Bytes that have passed. */
  get length(): number {
    return this.#length;
  }

  /** Of the whole blob, once it has passed. @throws ThinError `corrupt` if it never did */
  get digest(): Digest {
    if (this.#digest === undefined) throw malformedLayer('its bytes were not read to their end');
    return this.#digest;
  }

  /** @throws ThinError `corrupt` as soon as there are too many bytes, and at the end */
  async *bytes(): AsyncGenerator<Buffer, void> {
    const size = this.#size ?? Number.POSITIVE_INFINITY;
    for await (const bytes of this.#source) {
      this.#length += bytes.length;
      if (this.#length > size) throw malformedLayer(`it has more bytes than ${size}`);
      const hashed = this.#check.update(bytes);
      hashed.catch(() => undefined); // is thrown where it is awaited
      yield bytes;
      await hashed;
    }
    if (this.#size !== undefined && this.#length < this.#size) {
      throw malformedLayer(`it has ${this.#length} bytes (wanted ${this.#size})`);
    }
    this.#digest = this.#check.finish();
  }
}
