import { zstdBytesMax, zstdCompress, zstdDecompress } from '../../native-bindings/zstd.js';
import { ThinError } from '../errors.js';
import type { Frame, FrameCodec } from './frame.js';

/** Plain bytes of a frame that a writer makes: no chunk is larger, and one fetch brings that much. */
export const frameBytesMax = 256 * 1024;
/** Plain bytes of a frame that a reader takes, so that later writers may make larger ones. */
const decodedBytesMax = 4 * 1024 * 1024;

/** Bytes that compressing a frame can take before it is found that it does not shrink. */
export function encodedBytesMax(): number {
  return zstdBytesMax(frameBytesMax);
}

export interface EncodedFrame {
  readonly codec: FrameCodec;
  readonly bytes: Buffer;
}

/**
 * Compresses one frame on the libuv pool. Deterministic for a version of libzstd.
 * @param plain must not change until the promise is settled; `stored` returns these very bytes
 * @param output for reuse: where the result goes, of at least {@link encodedBytesMax}
 */
export async function compressFrame(
  plain: Buffer,
  level: number,
  output?: Buffer,
): Promise<EncodedFrame> {
  const compressed = await zstdCompress(plain, level, output);
  return compressed.length < plain.length
    ? { codec: 'zstd', bytes: compressed }
    : { codec: 'stored', bytes: plain };
}

/**
 * The plain bytes of `frame`, which is `bytes` in its pack. Its chunks are still to be verified
 * against their digests.
 * @returns exactly `plainLength` bytes; of a stored frame, `bytes` themselves
 * @throws ThinError `corrupt` if the bytes are not what the frame says
 */
export async function decodeFrame(frame: Frame, bytes: Buffer): Promise<Buffer> {
  if (bytes.length !== frame.length) throw corrupt(frame, `${bytes.length} bytes arrived`);
  if (frame.plainLength > decodedBytesMax) throw corrupt(frame, 'it is too large');
  if (frame.codec === 'stored') {
    if (bytes.length !== frame.plainLength) throw corrupt(frame, 'its two lengths differ');
    return bytes;
  }
  try {
    return await zstdDecompress(bytes, frame.plainLength);
  } catch (error) {
    throw corrupt(frame, 'it cannot be decompressed', error);
  }
}

function corrupt(frame: Frame, reason: string, cause?: unknown): ThinError {
  const { pack, offset, length, plainLength, codec } = frame;
  return new ThinError(
    'corrupt',
    `Cannot decode frame at ${offset} of pack ${pack}: ${reason} ` +
      `(wanted ${length} bytes, ${codec}, of ${plainLength} plain bytes)`,
    { cause },
  );
}
