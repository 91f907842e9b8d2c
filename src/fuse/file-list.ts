import { createHash } from 'node:crypto';
import type { FileRef } from '../cache/file-origin.js';
import { type Digest, digestFromBytes, digestHex, digestSize } from '../digest.js';
import { ThinError } from '../errors.js';
import { limits } from '../limits.js';

/*
 * The files of one image, in memory that all threads share, 40 bytes each, sorted by digest, each
 * digest once:
 *
 *   digest (32)   size, little endian (8)
 *
 * A file's place in the list is its number. The list's name is a hash of the image's name and of all
 * of it: the same name is the same files by the same numbers, in every process.
 */
const entryBytes = digestSize + 8;
const wordValues = 2 ** 32;

/** What threads are given. */
export interface SharedFileList {
  readonly image: Digest;
  /** 64 hex digits. */
  readonly name: string;
  readonly entries: SharedArrayBuffer;
}

export class FileList {
  readonly image: Digest;
  readonly name: string;
  readonly count: number;
  readonly #bytes: Buffer;
  readonly #wanted = Buffer.alloc(digestSize);

  constructor({ image, name, entries }: SharedFileList) {
    this.image = image;
    this.name = name;
    this.#bytes = Buffer.from(entries);
    this.count = entries.byteLength / entryBytes;
  }

  content(file: number): Digest {
    return digestFromBytes(this.#bytes, file * entryBytes);
  }

  /** Bytes. */
  size(file: number): number {
    const at = file * entryBytes + digestSize;
    return this.#bytes.readUInt32LE(at) + this.#bytes.readUInt32LE(at + 4) * wordValues;
  }

  /** @param hex 64 lower-case hex digits */
  find(hex: string): number | undefined {
    this.#wanted.write(hex, 'hex');
    const file = this.#firstFrom(this.#wanted);
    return file < this.count && this.#compare(file, this.#wanted) === 0 ? file : undefined;
  }

  /** The files whose digests begin with one byte: from `first` to before `end`. */
  beginningWith(byte: number): { first: number; end: number } {
    const first = this.#firstFrom(Buffer.of(byte));
    return { first, end: byte === 0xff ? this.count : this.#firstFrom(Buffer.of(byte + 1)) };
  }

  /** The first file whose digest is not below `wanted`; the number of files if there is none. */
  #firstFrom(wanted: Buffer): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#compare(middle, wanted) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #compare(file: number, wanted: Buffer): number {
    const at = file * entryBytes;
    return this.#bytes.compare(wanted, 0, wanted.length, at, at + digestSize);
  }
}

/** Files taken between looks at what else this process has to do: about 2 ms. */
const filesPerTurn = 4096;
/** Of a sort key: bits of the digest, and below them bits of where it was. Both fit a number. */
const positionBits = 24;
const alikeBits = 29;

/**
 * @param files may name a file several times
 * @throws ThinError `corrupt` if they contradict each other or are none, `no-space` beyond
 *   16 million, and whatever `files` throws
 */
export async function makeFileList(
  image: Digest,
  files: Iterable<FileRef>,
): Promise<SharedFileList> {
  const unsorted = await collect(files);
  const count = unsorted.length / entryBytes;
  const sorted = Buffer.allocUnsafeSlow(unsorted.length);
  let length = 0;
  for (const entry of inOrder(unsorted, count)) {
    if (length > 0 && isSameFile(sorted.subarray(length - entryBytes, length), entry)) continue;
    entry.copy(sorted, length);
    length += entryBytes;
  }
  const whole = sorted.subarray(0, length);
  const hash = createHash('sha256').update(`thinfs file list 1\n${image}\n`).update(whole);
  const entries = new SharedArrayBuffer(length);
  whole.copy(Buffer.from(entries));
  return { image, name: hash.digest('hex'), entries };
}

async function collect(files: Iterable<FileRef>): Promise<Buffer> {
  let bytes: Buffer = Buffer.allocUnsafe(1024 * entryBytes);
  let count = 0;
  for (const file of files) {
    if (count === 2 ** positionBits) throw tooMany();
    if ((count + 1) * entryBytes > bytes.length) bytes = enlarged(bytes);
    writeEntry(bytes, count * entryBytes, file);
    count += 1;
    if (count % filesPerTurn === 0) await new Promise(setImmediate);
  }
  return bytes.subarray(0, count * entryBytes);
}

function enlarged(bytes: Buffer): Buffer {
  const larger = Buffer.allocUnsafe(bytes.length * 2);
  bytes.copy(larger);
  return larger;
}

function writeEntry(bytes: Buffer, at: number, { content, size }: FileRef): void {
  const isSize = Number.isSafeInteger(size) && size >= 0 && size <= limits.fileBytesMax;
  if (!isSize || bytes.write(digestHex(content), at, digestSize, 'hex') !== digestSize) {
    throw new ThinError('corrupt', `Cannot show ${content} of ${size} bytes: wanted a SHA-256`);
  }
  bytes.writeUInt32LE(size % wordValues, at + digestSize);
  bytes.writeUInt32LE(Math.floor(size / wordValues), at + digestSize + 4);
}

/** The entries by digest. Numbers are sorted, much faster than anything that is compared by a call. */
function* inOrder(bytes: Buffer, count: number): Iterable<Buffer> {
  const keys = new Float64Array(count);
  for (let at = 0; at < count; at++) {
    const alike = bytes.readUInt32BE(at * entryBytes) >>> (32 - alikeBits);
    keys[at] = alike * 2 ** positionBits + at;
  }
  keys.sort();
  const entryOf = (key: number) => {
    const at = (key % 2 ** positionBits) * entryBytes;
    return bytes.subarray(at, at + entryBytes);
  };
  for (let at = 0; at < count; ) {
    const first = Math.floor((keys[at] ?? 0) / 2 ** positionBits);
    const end = keys.subarray(at).findIndex((key) => Math.floor(key / 2 ** positionBits) !== first);
    const alike = keys.subarray(at, end < 0 ? count : at + end);
    yield* [...alike].map(entryOf).sort(Buffer.compare);
    at += alike.length;
  }
}

/** @throws ThinError `corrupt` if it is the same digest with another size */
function isSameFile(previous: Buffer, entry: Buffer): boolean {
  if (previous.compare(entry, 0, digestSize, 0, digestSize) !== 0) return false;
  if (previous.equals(entry)) return true;
  throw new ThinError(
    'corrupt',
    `Cannot show ${digestFromBytes(entry)}: the image says two different sizes of it`,
  );
}

function tooMany(): ThinError {
  return new ThinError('no-space', `Cannot show more than ${2 ** positionBits} files of an image`);
}
