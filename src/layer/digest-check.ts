import { createHash, type Hash } from 'node:crypto';
import { type Digest, digestFromBytes, parseDigest } from '../digest.js';
import { malformedLayer } from './malformed-layer.js';

const sha512Grammar = /^sha512:[a-f0-9]{128}$/;

/**
 * Hashes what passes by and compares it with what a manifest or config promises. Ours is always
 * SHA-256; where the promise is in SHA-512, the other algorithm of the OCI specification, that is
 * computed as well.
 */
export class DigestCheck {
  readonly #what: string;
  readonly #expected: string | undefined;
  readonly #sha256: Hash = createHash('sha256');
  readonly #sha512: Hash | undefined;

  /**
   * @param what for the message: `its digest`, `its diff ID`
   * @throws ThinError `invalid` if `expected` is no digest
   */
  constructor(what: string, expected: string | undefined) {
    this.#what = what;
    if (expected !== undefined && sha512Grammar.test(expected)) this.#sha512 = createHash('sha512');
    else if (expected !== undefined) parseDigest(expected);
    this.#expected = expected;
  }

  update(bytes: Buffer): void {
    this.#sha256.update(bytes);
    this.#sha512?.update(bytes);
  }

  /** @throws ThinError `corrupt` if it is not as expected */
  finish(): Digest {
    const digest = digestFromBytes(this.#sha256.digest());
    const found = this.#sha512 === undefined ? digest : `sha512:${this.#sha512.digest('hex')}`;
    if (this.#expected !== undefined && found !== this.#expected) {
      throw malformedLayer(`${this.#what} is ${found} (wanted ${this.#expected})`);
    }
    return digest;
  }
}
