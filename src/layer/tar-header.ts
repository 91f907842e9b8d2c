import { type ByteString, emptyByteString } from '../byte-string.js';
import type { Device } from '../image/tree.js';
import { malformedLayer } from './malformed-layer.js';
import { readNumber, readOctal } from './tar-number.js';

/**
 * One 512-byte header of a tar archive, as it stands: no PAX or GNU extension applied yet.
 *
 * ```
 * 0 name 100 | 100 mode 8 | 108 uid 8 | 116 gid 8 | 124 size 12 | 136 mtime 12 | 148 checksum 8
 * 156 type 1 | 157 link 100 | 257 magic+version 8 | 265 user 32 | 297 group 32
 * 329 major 8 | 337 minor 8 | 345 prefix 155 (ustar), 131 (star), atime 12 + ctime 12 … (GNU)
 * ```
 * @see https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html
 * @see https://www.gnu.org/software/tar/manual/html_node/Standard.html
 */
export interface TarHeader {
  /** The type flag as one character; a NUL is read as `0`, or `5` if the name ends in `/` (V7). */
  readonly type: string;
  readonly name: ByteString;
  readonly linkTarget: ByteString;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes stored behind the header, before PAX has its say; never negative. */
  readonly size: number;
  /** Seconds since 1970. */
  readonly mtime: number;
  /** Of character and block devices; 0:0 for the rest. */
  readonly device: Device;
}

export const blockSize = 512;

type Dialect = 'v7' | 'ustar' | 'star' | 'gnu';

const noDevice: Device = { major: 0, minor: 0 };
const zeroBlock = Buffer.alloc(blockSize);
const checksumAt = 148;
const checksumLength = 8;

/** @throws ThinError `corrupt` if the checksum is wrong or a number is no number. */
export function decodeHeader(block: Buffer): TarHeader {
  verifyChecksum(block);
  const dialect = dialectOf(block);
  const flag = String.fromCharCode(block[156] ?? 0);
  const name = nameOf(block, dialect, flag);
  const type = flag !== '\0' ? flag : name.endsWith('/') ? '5' : '0';
  const size = readNumber(block, 124, 12, 'the size');
  if (size < 0) throw malformedLayer(`a tar header has size ${size} (wanted 0 or more)`);
  return {
    type,
    name,
    linkTarget: textAt(block, 157, 100),
    mode: readNumber(block, 100, 8, 'the mode'),
    uid: readNumber(block, 108, 8, 'the user id'),
    gid: readNumber(block, 116, 8, 'the group id'),
    size,
    mtime: readNumber(block, 136, 12, 'the modification time'),
    device: (type === '3' || type === '4') && dialect !== 'v7' ? deviceOf(block) : noDevice,
  };
}

export function isZeroBlock(block: Buffer): boolean {
  return block[0] === 0 && block.equals(zeroBlock);
}

/** A field that ends at its first NUL, or fills its space. */
export function textAt(block: Buffer, at: number, length: number): ByteString {
  let end = at;
  while (end < at + length && block[end] !== 0) end += 1;
  // No views of the bytes, which are a tenth of what reading a layer leaves as garbage.
  return end === at ? emptyByteString : (block.toString('latin1', at, end) as ByteString);
}

/** The sum of all bytes with the checksum itself as spaces; some old writers summed signed bytes. */
function verifyChecksum(block: Buffer): void {
  let sum = sumOf(block);
  for (let at = checksumAt; at < checksumAt + checksumLength; at += 1) {
    sum += 0x20 - (block[at] ?? 0);
  }
  const stated = readOctal(block, checksumAt, checksumLength, 'the checksum');
  if (stated !== sum && stated !== signedSum(block, sum)) {
    throw malformedLayer(`the checksum of a tar header is ${stated} (wanted ${sum})`);
  }
}

/** Of all bytes of a block, four at a time: there is a header for each file. */
function sumOf(block: Buffer): number {
  let pairs = 0; // two sums of 16 bits, each of 256 bytes at most
  for (let at = 0; at < blockSize; at += 4) {
    const word = block.readUInt32LE(at);
    pairs += (word & 0x00ff00ff) + ((word >>> 8) & 0x00ff00ff);
  }
  return (pairs & 0xffff) + (pairs >>> 16);
}

function signedSum(block: Buffer, unsigned: number): number {
  let sum = unsigned;
  for (let at = 0; at < blockSize; at += 1) {
    const inChecksum = at >= checksumAt && at < checksumAt + checksumLength;
    if (!inChecksum && (block[at] ?? 0) > 0x7f) sum -= 0x100;
  }
  return sum;
}

function dialectOf(block: Buffer): Dialect {
  const magic = block.toString('latin1', 257, 265);
  if (magic === 'ustar  \0') return 'gnu';
  if (!magic.startsWith('ustar\0')) return 'v7';
  return block.toString('latin1', 508, 512) === 'tar\0' ? 'star' : 'ustar';
}

function nameOf(block: Buffer, dialect: Dialect, flag: string): ByteString {
  const name = textAt(block, 0, 100);
  if (block[345] === 0 || dialect === 'v7') return name;
  if (dialect === 'gnu' && (flag === 'S' || isNumeric(block, 345, 12))) return name;
  const prefix = textAt(block, 345, dialect === 'star' ? 131 : 155);
  return prefix === '' ? name : (`${prefix}/${name}` as ByteString);
}

/**
 * GNU headers have no prefix but an access time there. Docker's layers up to 2017 do have one:
 * archive/tar of Go before 1.8 wrote it, and its readers have taken it since where it is no time.
 */
function isNumeric(block: Buffer, at: number, length: number): boolean {
  if (((block[at] ?? 0) & 0x80) !== 0) return true;
  return /^ *[0-7]*[ \0]*$/.test(block.toString('latin1', at, at + length));
}

function deviceOf(block: Buffer): Device {
  return {
    major: readNumber(block, 329, 8, 'the major device number'),
    minor: readNumber(block, 337, 8, 'the minor device number'),
  };
}
