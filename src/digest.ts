import { createHash } from 'node:crypto';
import { ThinError } from './errors.js';

/**
 * `sha256:<64 lower-case hex digits>`: the only digest of our own formats.
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.0/descriptor.md#digests
 */
export type Digest = string & { readonly brand: 'Digest' };

/** Bytes of a raw SHA-256. */
export const digestSize = 32;

const sha256Grammar = /^sha256:[a-f0-9]{64}$/;

/** @throws ThinError `invalid` if `text` is not a SHA-256 digest in its canonical form. */
export function parseDigest(text: string): Digest {
  if (!isDigest(text)) {
    const shown = JSON.stringify(text.slice(0, 90));
    throw new ThinError(
      'invalid',
      `Cannot use digest ${shown}: wanted sha256: and 64 lower-case hexadecimal digits`,
    );
  }
  return text;
}

export function isDigest(text: string): text is Digest {
  return sha256Grammar.test(text);
}

/** Bytes that are hashed at a time: Node takes less than 2 GiB. */
const pieceBytes = 2 ** 30;

/** Digest of a whole buffer. */
export function digestOf(bytes: Uint8Array): Digest {
  const hash = createHash('sha256');
  let rest = bytes;
  for (; rest.length > pieceBytes; rest = rest.subarray(pieceBytes)) {
    hash.update(rest.subarray(0, pieceBytes));
  }
  return `sha256:${hash.update(rest).digest('hex')}` as Digest;
}

/** The digest whose raw form is the 32 bytes at `offset`. */
export function digestFromBytes(bytes: Buffer, offset = 0): Digest {
  if (bytes.length < offset + digestSize) {
    throw new ThinError('corrupt', `Cannot read digest: fewer than ${digestSize} bytes left`);
  }
  return `sha256:${bytes.toString('hex', offset, offset + digestSize)}` as Digest;
}

/** The raw 32 bytes. */
export function digestBytes(digest: Digest): Buffer {
  return Buffer.from(digestHex(digest), 'hex');
}

/** The 64 hex digits, safe as a file name. */
export function digestHex(digest: Digest): string {
  return digest.slice('sha256:'.length);
}
