import { ThinError } from '../src/errors.js';

/**
 * The start of a zstd frame, RFC 8878 section 3.1.1.1:
 *
 *     magic 4 | descriptor 1 | window 0 or 1 | dictionary id 0, 1, 2 or 4 | content size 0, 1, 2, 4 or 8
 */
export interface ZstdFrameHeader {
  /** Bytes of history that a decoder must keep. */
  readonly windowSize: number;
  /** Plain bytes of the frame, if it says. */
  readonly contentSize: number | undefined;
  readonly hasDictionary: boolean;
}

const magic = 0xfd2fb528;
const descriptorAt = 4;
const windowAt = 5;
const dictionarySizes = [0, 1, 2, 4];
const contentSizes = [0, 2, 4, 8];

/** @throws ThinError `corrupt` if `bytes` do not begin with a whole header. */
export function parseZstdFrameHeader(bytes: Buffer): ZstdFrameHeader {
  const descriptor = bytes[descriptorAt];
  if (descriptor === undefined || bytes.readUInt32LE(0) !== magic) {
    throw new ThinError('corrupt', 'Cannot read zstd frame: it does not begin as one');
  }
  const singleSegment = (descriptor & 0x20) !== 0;
  const dictionarySize = dictionarySizes[descriptor & 3] ?? 0;
  const declaredSize = contentSizes[descriptor >> 6] ?? 0;
  const contentSizeSize = declaredSize === 0 && singleSegment ? 1 : declaredSize;
  const contentSizeAt = windowAt + (singleSegment ? 0 : 1) + dictionarySize;
  if (bytes.length < contentSizeAt + contentSizeSize) {
    throw new ThinError('corrupt', 'Cannot read zstd frame: it ends inside its header');
  }
  const contentSize = readContentSize(bytes, contentSizeAt, contentSizeSize);
  return {
    windowSize: singleSegment ? (contentSize ?? 0) : windowSizeOf(bytes.readUInt8(windowAt)),
    contentSize,
    hasDictionary: dictionarySize > 0,
  };
}

function readContentSize(bytes: Buffer, at: number, size: number): number | undefined {
  switch (size) {
    case 1:
      return bytes.readUInt8(at);
    case 2:
      return bytes.readUInt16LE(at) + 256;
    case 4:
      return bytes.readUInt32LE(at);
    case 8:
      return Number(bytes.readBigUInt64LE(at));
    default:
      return undefined;
  }
}

function windowSizeOf(byte: number): number {
  const base = 2 ** (10 + (byte >> 3));
  return base + (base / 8) * (byte & 7);
}
