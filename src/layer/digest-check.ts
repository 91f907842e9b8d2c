import { createHash, type Hash } from 'node:crypto';
import { HashStream } from '../../native-bindings/hash-stream.js';
import { type Digest, digestFromBytes, parseDigest } from '../digest.js';
import { isThinError } from '../errors.js';
import { malformedLayer } from './malformed-layer.js';

const sha512Grammar = /^sha512:[a-f0-9]{128}$/;

interface Sha256 {
  update(bytes: Buffer): Promise<void>;
  digest(): Digest;
}

/**
 * Hashes what passes by, on another thread, and compares it with what a manifest or config promises. Ours is always
 * SHA-256; where the promise is in SHA-512, the other algorithm of the OCI specification, that is
 * computed as well.
 */
export class DigestCheck {
  readonly #what: string;
  readonly #expected: string | undefined;
  readonly #sha256: Sha256 = openSha256();
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

  /** One call at a time. @param bytes must not change until the promise is settled */
  update(bytes: Buffer): Promise<void> {
    this.#sha512?.update(bytes);
    return this.#sha256.update(bytes);
  }

  /** @throws ThinError `corrupt` if it is not as expected */
  finish(): Digest {
    const digest = this.#sha256.digest();
    const found = this.#sha512 === undefined ? digest : `sha512:${this.#sha512.digest('hex')}`;
    if (this.#expected !== undefined && found !== this.#expected) {
      throw malformedLayer(`${this.#what} is ${found} (wanted ${this.#expected})`);
    }
    return digest;
  }
}

function openSha256(): Sha256 {
  try {
    return new HashStream();
  } catch (error) {
    if (isThinError(error, 'unavailable')) return hashHere(createHash('sha256'));
    throw error;
  }
}

/** Where the addon is missing: on this thread. */
function hashHere(hash: Hash): Sha256 {
  return {
    update: async (bytes) => {
      hash.update(bytes);
    },
    digest: () => digestFromBytes(hash.digest()),
  };
}
