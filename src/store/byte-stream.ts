import { createHash, type Hash } from 'node:crypto';
import { ThinError } from '../errors.js';
import type { Blob, FetchOptions, OpenBytes, Store } from './store.js';

/**
 * Passes bytes through, the last of them only once they are known to be those of `blob`: who counts
 * bytes and takes no more than `blob.size` is told as well as who reads to the end.
 * @throws ThinError `corrupt`
 */
export async function* verified(
  source: AsyncIterable<Buffer>,
  blob: Blob,
): AsyncGenerator<Buffer, void> {
  const hash = createHash('sha256');
  let size = 0;
  for await (const bytes of source) {
    if (bytes.length === 0) continue;
    size += bytes.length;
    if (size > blob.size) throw corrupt(blob, `more than ${blob.size} bytes`);
    hash.update(bytes);
    if (size === blob.size) checkDigest(hash, blob);
    yield bytes;
  }
  if (size !== blob.size) throw corrupt(blob, `${size} bytes (wanted ${blob.size})`);
  if (size === 0) checkDigest(hash, blob);
}

function checkDigest(hash: Hash, blob: Blob): void {
  const digest = `sha256:${hash.digest('hex')}`;
  if (digest !== blob.digest) throw corrupt(blob, `bytes with the digest ${digest}`);
}

function corrupt(blob: Blob, what: string): ThinError {
  return new ThinError('corrupt', `Cannot read blob ${blob.digest}: it has ${what}`);
}

/**
 * Passes bytes through and throws if they are more or fewer than `length`.
 * @throws ThinError `unavailable` if they end early, `corrupt` if they go on
 */
export async function* exactly(
  source: AsyncIterable<Buffer>,
  length: number,
  what: string,
): AsyncGenerator<Buffer, void> {
  let left = length;
  for await (const bytes of source) {
    left -= bytes.length;
    if (left < 0) throw new ThinError('corrupt', `Cannot read ${what}: more than ${length} bytes`);
    yield bytes;
  }
  if (left > 0) {
    throw new ThinError('unavailable', `Cannot read ${what}: ${left} of ${length} bytes missing`);
  }
}

/** All of a stream that has exactly `length` bytes, in one buffer. */
export async function collect(
  source: AsyncIterable<Buffer>,
  length: number,
  what: string,
): Promise<Buffer> {
  const whole = Buffer.allocUnsafeSlow(length);
  let at = 0;
  for await (const bytes of exactly(source, length, what)) at += bytes.copy(whole, at);
  return whole;
}

/** Bytes `offset` to `offset + length` of a blob, unverified. */
export function readRange(
  store: Store,
  blob: Blob,
  offset: number,
  length: number,
  signal: AbortSignal,
  options?: FetchOptions,
): Promise<Buffer> {
  const source = store.openRange(blob, offset, length, signal, options);
  return collect(source, length, `${length} bytes at ${offset} of ${blob.digest} from ${store}`);
}

/** A whole blob as a stream that throws in place of ending if it is not what it should be. */
export function openVerified(store: Store, blob: Blob, signal: AbortSignal): AsyncIterable<Buffer> {
  return verified(store.openRange(blob, 0, blob.size, signal), blob);
}

/** The bytes of a buffer, to be put. */
export function bytesOf(buffer: Buffer): OpenBytes {
  return async function* open(offset) {
    if (offset < buffer.length) yield buffer.subarray(offset);
  };
}
