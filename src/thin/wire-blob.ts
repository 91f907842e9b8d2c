import { zstdCompress, zstdDecompress } from '../../native-bindings/zstd.js';
import { digestOf } from '../digest.js';
import { ThinError } from '../errors.js';
import { onceMore } from '../once-more.js';
import type { WireBlob } from './descriptor.js';
import type { Blob, BlobSource } from './image-store.js';
import { inParallel } from './parallel.js';

/** Metadata and chunk map are written once and read by every node: a slow level, still 20 MB/s. */
const wireLevel = 9;

/**
 * Requests by which a blob comes, and bytes of each: a connection begins slowly, and what an image cannot
 * be opened without shares the line with what can wait (its hot pack).
 */
const partsMax = 4;
const partBytesMin = 256 * 1024;

/** Compresses metadata or a chunk map for the wire. */
export async function toWire(plain: Buffer): Promise<{ blob: WireBlob; bytes: Buffer }> {
  const bytes = await zstdCompress(plain, wireLevel);
  const blob = {
    digest: digestOf(bytes),
    size: bytes.length,
    plainDigest: digestOf(plain),
    plainSize: plain.length,
  };
  return { blob, bytes };
}

/**
 * Fetches a wire blob, verifies and decompresses it, and verifies it again.
 * @throws ThinError `corrupt`, and what the store throws
 */
export async function readWire(
  store: BlobSource,
  blob: WireBlob,
  signal: AbortSignal,
): Promise<Buffer> {
  const bytes = await readWhole(store, blob, signal);
  const plain = await zstdDecompress(bytes, blob.plainSize);
  checkPlain(plain, blob);
  return plain;
}

/** @throws ThinError `corrupt` */
export function checkPlain(plain: Buffer, { digest, plainDigest }: WireBlob): void {
  if (digestOf(plain) === plainDigest) return;
  throw new ThinError(
    'corrupt',
    `Cannot use blob ${digest}: it decodes to something else than ${plainDigest}`,
  );
}

/** A whole blob in memory, verified; `blob.size` must be bounded already. */
export function readWhole(
  store: BlobSource,
  { digest, size }: Blob,
  signal: AbortSignal,
): Promise<Buffer> {
  return onceMore(() => readOnce(store, { digest, size }, signal));
}

async function readOnce(
  store: BlobSource,
  { digest, size }: Blob,
  signal: AbortSignal,
): Promise<Buffer> {
  const whole = Buffer.allocUnsafeSlow(size);
  const parts = partsOf(size, store.comesWhole ? 1 : partsMax);
  let came = 0;
  await inParallel(parts, partsMax, signal, async ({ start, length }, aborted) => {
    let at = start;
    for await (const bytes of store.openRange({ digest, size }, start, length, aborted)) {
      at += bytes.copy(whole, at, 0, start + length - at);
    }
    came += at - start;
  });
  if (came === size && digestOf(whole) === digest) return whole;
  throw new ThinError('corrupt', `Cannot use blob ${digest} from ${store}: its bytes are others`);
}

function partsOf(size: number, countMax: number): { start: number; length: number }[] {
  const count = Math.min(countMax, Math.max(Math.floor(size / partBytesMin), 1));
  const step = Math.ceil(size / count);
  return Array.from({ length: count }, (_, at) => {
    const start = at * step;
    return { start, length: Math.min(step, size - start) };
  });
}
