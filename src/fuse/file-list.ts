import { isLittleEndian } from '../byte-order.js';
import type { FileRef } from '../cache/file-origin.js';
import { type Digest, digestFromBytes, digestSize } from '../digest.js';
import type { FileColumns } from '../file-columns.js';

/*
 * The files of one image, in memory that all threads share, 40 bytes each, sorted by digest, each
 * digest once, as words of 32 bits:
 *
 *   digest (8 words, the first byte of the digest is the highest of the first)   size (low, high)
 *
 * A file's place in the list is its number. The list's name is a hash of the image's name and of all
 * of it: the same name is the same files by the same numbers, in every process.
 */
export const digestWords = digestSize / 4;
export const entryWords = digestWords + 2;
export const wordValues = 2 ** 32;

/** The same bits as one or the other. */
type DigestWords = Uint32Array | Int32Array;

/** What threads are given. */
export interface SharedFileList {
  readonly image: Digest;
  /** 64 hex digits. */
  readonly name: string;
  readonly entries: SharedArrayBuffer;
}

/** Finds files in a list that make-file-list.ts made. */
export class FileList {
  readonly image: Digest;
  readonly name: string;
  readonly count: number;
  readonly #words: Uint32Array;
  readonly #wanted = new Uint32Array(digestWords);
  readonly #bytes = Buffer.alloc(digestSize);

  constructor({ image, name, entries }: SharedFileList) {
    this.image = image;
    this.name = name;
    this.#words = new Uint32Array(entries);
    this.count = this.#words.length / entryWords;
  }

  content(file: number): Digest {
    for (let at = 0; at < digestWords; at++) {
      this.#bytes.writeUInt32BE(this.#words[file * entryWords + at] ?? 0, at * 4);
    }
    return digestFromBytes(this.#bytes);
  }

  /** Bytes. */
  size(file: number): number {
    const at = file * entryWords + digestWords;
    return (this.#words[at] ?? 0) + (this.#words[at + 1] ?? 0) * wordValues;
  }

  /** @param hex 64 lower-case hex digits */
  find(hex: string): number | undefined {
    if (!parseHex(hex, this.#wanted, 0)) return undefined;
    const file = this.#firstFrom(this.#wanted);
    const isFound = file < this.count && this.#compare(file, this.#wanted) === 0;
    return isFound ? file : undefined;
  }

  *[Symbol.iterator](): Generator<FileRef> {
    for (let file = 0; file < this.count; file++) {
      yield { content: this.content(file), size: this.size(file) };
    }
  }

  columns(): FileColumns {
    const words = this.#words.slice();
    const bytes = Buffer.from(words.buffer);
    if (isLittleEndian) bytes.swap32();
    const digests = Buffer.allocUnsafeSlow(this.count * digestSize);
    const sizes = new Float64Array(this.count);
    const entryBytes = entryWords * 4;
    for (let file = 0; file < this.count; file++) {
      const at = file * entryBytes;
      bytes.copy(digests, file * digestSize, at, at + digestSize);
      sizes[file] = this.size(file);
    }
    return { digests, sizes };
  }

  /** The files whose digests begin with one byte: from `first` to before `end`. */
  beginningWith(byte: number): { first: number; end: number } {
    const from = (first: number) => {
      const wanted = new Uint32Array(digestWords);
      wanted[0] = first * 2 ** 24;
      return this.#firstFrom(wanted);
    };
    return { first: from(byte), end: byte === 0xff ? this.count : from(byte + 1) };
  }

  /** The first file whose digest is not below `wanted`; the number of files if there is none. */
  #firstFrom(wanted: Uint32Array): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#compare(middle, wanted) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #compare(file: number, wanted: Uint32Array): number {
    return compareDigests(this.#words, file * entryWords, wanted, 0);
  }
}

/** Of the digests that begin at two words, as compare functions tell. */
export function compareDigests(a: DigestWords, one: number, b: DigestWords, other: number): number {
  for (let at = 0; at < digestWords; at++) {
    const left = a[one + at] ?? 0;
    const right = b[other + at] ?? 0;
    if (left !== right) return left >>> 0 < right >>> 0 ? -1 : 1;
  }
  return 0;
}

/** Writes 64 hex digits as words from `at`. False if they are something else. */
export function parseHex(hex: string, words: DigestWords, at: number, start = 0): boolean {
  if (hex.length !== start + digestSize * 2) return false;
  for (let word = 0; word < digestWords; word++) {
    let value = 0;
    for (let digit = 0; digit < 8; digit++) {
      const bits = hexValues[hex.charCodeAt(start + word * 8 + digit)] ?? notHex;
      if (bits === notHex) return false;
      value = (value << 4) | bits;
    }
    words[at + word] = value;
  }
  return true;
}

const notHex = 255;
/** By character code, lower-case digits only. */
const hexValues = new Uint8Array(128).fill(notHex);
for (const [value, digit] of [...'0123456789abcdef'].entries()) {
  hexValues[digit.charCodeAt(0)] = value;
}
