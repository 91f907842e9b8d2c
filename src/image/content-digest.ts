import { createHash, type Hash } from 'node:crypto';
import { type Digest, isDigest } from '../digest.js';
import { ThinError } from '../errors.js';

/** `sha512:<128 lower-case hex digits>`: never ours, but other people's images may be named so. */
export type Sha512Digest = string & { readonly brand: 'Sha512Digest' };

/**
 * A digest of somebody else's content: one of the two algorithms that the OCI image specification
 * registers, in its one canonical spelling. Nothing else gets near a URL or a path (CVE-2024-3727).
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.0/descriptor.md#registered-algorithms
 */
export type ContentDigest = Digest | Sha512Digest;

const sha512Grammar = /^sha512:[a-f0-9]{128}$/;

export function isContentDigest(text: string): text is ContentDigest {
  return isDigest(text) || isSha512(text);
}

function isSha512(text: string): text is Sha512Digest {
  return sha512Grammar.test(text);
}

/** @throws ThinError `invalid` if `text` is neither a SHA-256 nor a SHA-512 digest. */
export function parseContentDigest(text: string): ContentDigest {
  if (!isContentDigest(text)) {
    const shown = JSON.stringify(text.slice(0, 90));
    throw new ThinError(
      'invalid',
      `Cannot use digest ${shown}: wanted sha256: and 64, or sha512: and 128 lower-case hexadecimal digits`,
    );
  }
  return text;
}

/** A hash that, fed with the content, gives the hex part of `digest` ({@link isDigestOf}). */
export function hasherFor(digest: ContentDigest): Hash {
  return createHash(digest.startsWith('sha512:') ? 'sha512' : 'sha256');
}

/** True if `hasher`, made by {@link hasherFor} and fed with everything, has come to `digest`. */
export function isDigestOf(digest: ContentDigest, hasher: Hash): boolean {
  return digest.slice('sha256:'.length) === hasher.digest('hex');
}
