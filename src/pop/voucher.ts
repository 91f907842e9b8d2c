import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fromSystemError } from '../errors.js';
import type { FetchName } from './pop-keys.js';

/**
 * Shows which node gave something to its home, which cannot know what it should be: that node's
 * public key (32 bytes of Ed25519), and its signature (64) of what it is called and the SHA-256 of it.
 */
export type Voucher = Buffer & { readonly voucher: unique symbol };

const publicKeyBytes = 32;
export const voucherBytes = publicKeyBytes + 64;
/** What stands before a public key of Ed25519 in its DER form (RFC 8410, section 4). */
const derPrefix = Buffer.from('302a300506032b6570032100', 'hex');

/** What a node vouches with. The node is called by the hash of its key, so that none answers for another. */
export class NodeKey {
  /** 12 hex digits; the same whenever the node is started. */
  readonly nodeName: string;
  readonly #private: KeyObject;
  readonly #public: Buffer;

  /** Reads it, or makes one where there is none. @throws ThinError if the folder cannot be used */
  static async open(folder: string): Promise<NodeKey> {
    const file = join(folder, 'key');
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const known = keyOf(await readFile(file, 'utf8').catch(() => ''));
      if (known) return new NodeKey(known);
      const { privateKey } = generateKeyPairSync('ed25519');
      const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
      await writeFile(file, pem, { mode: 0o600 });
      return new NodeKey(privateKey);
    } catch (error) {
      throw fromSystemError(`Cannot use ${folder} for the PoP`, error);
    }
  }

  private constructor(key: KeyObject) {
    const der = createPublicKey(key).export({ type: 'spki', format: 'der' });
    this.#private = key;
    this.#public = der.subarray(derPrefix.length);
    this.nodeName = nameOf(this.#public);
  }

  vouch(name: FetchName, hash: string): Voucher {
    const signature = sign(null, deedOf(name, hash), this.#private);
    return Buffer.concat([this.#public, signature]) as Voucher;
  }
}

/** Undefined for what is no key of ours: torn, as the machine went down, or of another kind. */
function keyOf(pem: string): KeyObject | undefined {
  try {
    const key = createPrivateKey(pem);
    return key.asymmetricKeyType === 'ed25519' ? key : undefined;
  } catch {
    return undefined;
  }
}

/** @returns undefined if it has not the form of one; whose it is, {@link whoVouches} tells */
export function parseVoucher(hex: unknown): Voucher | undefined {
  if (typeof hex !== 'string' || !/^[0-9a-f]+$/.test(hex)) return undefined;
  return hex.length === 2 * voucherBytes ? (Buffer.from(hex, 'hex') as Voucher) : undefined;
}

/**
 * The name of the node that vouches for `name` being bytes of this hash; undefined if none does.
 * @param hash hex of the SHA-256 of the bytes
 */
export function whoVouches(voucher: Voucher, name: FetchName, hash: string): string | undefined {
  const raw = voucher.subarray(0, publicKeyBytes);
  const key = createPublicKey({
    ...{ key: Buffer.concat([derPrefix, raw]), format: 'der', type: 'spki' },
  });
  const good = verify(null, deedOf(name, hash), key, voucher.subarray(publicKeyBytes));
  return good ? nameOf(raw) : undefined;
}

function nameOf(publicKey: Buffer): string {
  return createHash('sha256').update(publicKey).digest('hex').slice(0, 12);
}

function deedOf(name: FetchName, hash: string): Buffer {
  return Buffer.from(`thinfs vouches 1\n${name}\n${hash}`);
}
