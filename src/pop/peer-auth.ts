import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { siteVersion } from './pop-keys.js';

/**
 * Both sides show that they know the site's secret, for each request anew: the asker signs what it
 * asks, the answerer signs its answer together with the asker's nonce. What is sent can be read by who
 * listens on the network, but neither changed nor asked for by others. Nothing depends on clocks: a
 * request that is sent again gives its sender what it has seen already.
 */
export class SiteSecret {
  readonly #key: Buffer;

  /** @param secret of any length; only a key derived from it is used */
  constructor(secret: Buffer) {
    this.#key = createHmac('sha256', secret).update(`thinfs peers ${siteVersion}`).digest();
  }

  newNonce(): string {
    return randomBytes(12).toString('hex');
  }

  /** @param bodyHash by which the request is known to be a peer's before its body is taken in */
  signRequest(nonce: string, method: string, path: string, bodyHash: string): string {
    return this.#sign('request', nonce, method, path, bodyHash);
  }

  signAnswer(nonce: string, status: number, bodyHash: string): string {
    return this.#sign('answer', nonce, String(status), bodyHash);
  }

  /** Whether `signature`, which came from outside, is `wanted`. */
  matches(signature: unknown, wanted: string): boolean {
    if (typeof signature !== 'string' || signature.length !== wanted.length) return false;
    return timingSafeEqual(Buffer.from(signature), Buffer.from(wanted));
  }

  /** The parts hold no line ends: each is a word of ours, a number or hex, or a checked path. */
  #sign(...parts: string[]): string {
    return createHmac('sha256', this.#key).update(parts.join('\n')).digest('hex');
  }
}

/** Hex of the SHA-256. */
export function hashOf(body: Buffer): string {
  return createHash('sha256').update(body).digest('hex');
}

/** Of nothing: what `DELETE` sends. */
export const emptyHash = hashOf(Buffer.alloc(0));

export const nonceHeader = 'x-thinfs-nonce';
export const proofHeader = 'x-thinfs-proof';
/** {@link hashOf} what is sent. */
export const bodyHeader = 'x-thinfs-body';
/** Who gives the frame: hex of a voucher. */
export const voucherHeader = 'x-thinfs-voucher';
export const nonceForm = /^[0-9a-f]{24}$/;
export const hashForm = /^[0-9a-f]{64}$/;
