import { ThinError } from '../src/errors.js';
import { addon } from './addon.js';
import { fromNativeError } from './native-error.js';
import { StreamInflater } from './stream-inflater.js';
import { parseZstdFrameHeader } from './zstd-frame-header.js';

/** Levels whose window is at most {@link windowBytesMax} (zstd's "ultra" levels begin at 20). */
const levelMin = 1;
const levelMax = 19;
/** Bytes of history that a frame of ours may need: a reader can stream it in that much memory. */
const windowBytesMax = 8 * 1024 * 1024;
/** Bytes of a Buffer that one call takes: V8's limit is 4 GiB on Node 20. */
const plainBytesMax = 2 ** 32 - 1;
/** Window of layers that others made: `zstd --ultra` and `--long=27` stay within 128 MiB. */
const foreignWindowLogMax = 27;
/** What a frame that stands by itself refers to. */
const none = Buffer.alloc(0);

/**
 * One zstd frame with its content size and no checksum. The same bytes, level and libzstd version
 * give the same frame, on any machine and thread.
 * @param bytes must not change until the promise is settled
 * @param level 1 to 19
 * @param output where the frame goes, for reuse: at least {@link zstdBytesMax} of the bytes' length
 * @returns the start of `output`
 */
export function zstdCompress(
  bytes: Buffer,
  level: number,
  output: Buffer = Buffer.allocUnsafeSlow(zstdBytesMax(bytes.length)),
): Promise<Buffer> {
  return compress(bytes, level, output, none);
}

/**
 * The same with a checksum, of bytes that are like others, which {@link zstdDecompressDelta} needs, too.
 * @param base must not change until the promise is settled; together with `bytes` at most 8 MiB
 */
export async function zstdCompressDelta(
  bytes: Buffer,
  base: Buffer,
  level: number,
): Promise<Buffer> {
  checkBase(base, bytes.length);
  return await compress(bytes, level, Buffer.allocUnsafeSlow(zstdBytesMax(bytes.length)), base);
}

async function compress(
  bytes: Buffer,
  level: number,
  output: Buffer,
  prefix: Buffer,
): Promise<Buffer> {
  checkLevel(level);
  try {
    return output.subarray(0, await addon().zstdCompress(bytes, output, level, prefix));
  } catch (error) {
    throw fromNativeError('Cannot compress', error);
  }
}

/** The same in this thread, which it blocks: about 1 ms for 256 KiB at the lower levels. */
export function zstdCompressNow(bytes: Buffer, level: number, output: Buffer): Buffer {
  checkLevel(level);
  try {
    return output.subarray(0, addon().zstdCompressNow(bytes, output, level));
  } catch (error) {
    throw fromNativeError('Cannot compress', error);
  }
}

function checkLevel(level: number): void {
  if (Number.isInteger(level) && level >= levelMin && level <= levelMax) return;
  throw new ThinError(
    'invalid',
    `Cannot compress: zstd level ${level} (wanted ${levelMin} to ${levelMax})`,
  );
}

/** The most bytes that a frame of `length` plain bytes has, whatever they are. */
export function zstdBytesMax(length: number): number {
  return addon().zstdCompressBound(length);
}

/**
 * The content of `frame`, which must be exactly one zstd frame of exactly `plainLength` bytes, made
 * without a dictionary and with a window of at most 8 MiB.
 * @throws ThinError `corrupt` if it is anything else; nothing beyond `plainLength` is allocated
 */
export function zstdDecompress(frame: Buffer, plainLength: number): Promise<Buffer> {
  return decompress(frame, plainLength, none);
}

/**
 * The same of a frame that {@link zstdCompressDelta} has made.
 * @param base the bytes that it was made with; must not change until the promise is settled
 * @throws ThinError `corrupt` also if they are others; `invalid` if they are too many
 */
export async function zstdDecompressDelta(
  frame: Buffer,
  base: Buffer,
  plainLength: number,
): Promise<Buffer> {
  checkBase(base, plainLength);
  return await decompress(frame, plainLength, base);
}

function checkBase(base: Buffer, plainLength: number): void {
  const length = base.length + plainLength;
  if (base.length > 0 && length <= windowBytesMax) return;
  throw new ThinError(
    'invalid',
    `Cannot use a base of ${base.length} bytes (wanted 1 to ${windowBytesMax} with the frame's)`,
  );
}

async function decompress(frame: Buffer, plainLength: number, prefix: Buffer): Promise<Buffer> {
  if (!Number.isInteger(plainLength) || plainLength < 0 || plainLength > plainBytesMax) {
    throw new ThinError('invalid', `Cannot decompress to ${plainLength} bytes`);
  }
  checkHeader(frame, plainLength);
  const plain = Buffer.allocUnsafeSlow(plainLength);
  try {
    await addon().zstdDecompress(frame, plain, prefix);
  } catch (error) {
    throw fromNativeError('Cannot decompress zstd frame', error);
  }
  return plain;
}

/**
 * The same in this thread, which it blocks. @param plain is filled; what is wrong may leave anything there
 * @throws ThinError `corrupt`
 */
export function zstdDecompressNow(frame: Buffer, plain: Buffer): void {
  checkHeader(frame, plain.length);
  try {
    addon().zstdDecompressNow(frame, plain);
  } catch (error) {
    throw fromNativeError('Cannot decompress zstd frame', error);
  }
}

function checkHeader(frame: Buffer, plainLength: number): void {
  const header = parseZstdFrameHeader(frame);
  const refuse = (reason: string) =>
    new ThinError('corrupt', `Cannot decompress zstd frame: ${reason}`);
  if (header.hasDictionary) throw refuse('it needs a dictionary (wanted none)');
  if (header.contentSize !== plainLength) {
    throw refuse(`it declares ${header.contentSize ?? 'no'} bytes (wanted ${plainLength})`);
  }
  if (header.windowSize > windowBytesMax) {
    throw refuse(`its window is ${header.windowSize} bytes (wanted at most ${windowBytesMax})`);
  }
}

/**
 * A stream of zstd frames and skippable frames, as podman, docker and BuildKit write layers. Memory
 * is bounded by a window of 128 MiB.
 */
export class ZstdInflater {
  readonly #stream: StreamInflater;

  constructor() {
    const handle = addon().zstdInflaterOpen(foreignWindowLogMax);
    this.#stream = new StreamInflater('zstd', (input, output) =>
      addon().zstdInflaterStep(handle, input, output),
    );
  }

  /** @see GzipInflater.more */
  get more(): boolean {
    return this.#stream.more;
  }

  /** @see GzipInflater.push */
  push(bytes?: Buffer, reused?: Buffer): Promise<Buffer[]> {
    return this.#stream.push(bytes, reused);
  }

  /** @throws ThinError `corrupt` if the stream may not end here (no frame at all, or inside one) */
  end(): void {
    this.#stream.end();
  }
}
