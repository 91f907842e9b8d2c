import { limits } from '../limits.js';
import { malformedLayer } from './malformed-layer.js';
import { type PaxRecords, sparseMapKey } from './pax-records.js';
import { blockSize } from './tar-header.js';
import { parseDecimal, readNumber } from './tar-number.js';

/**
 * Where the stored bytes of a sparse file belong; between and behind the segments are holes.
 *
 * | form | where the map is | made by |
 * | --- | --- | --- |
 * | old GNU | type `S`: 4 pairs in the header, then 21 in each extension block | GNU tar |
 * | PAX 0.0 | repeated records `GNU.sparse.offset` and `GNU.sparse.numbytes` | GNU tar 1.14 |
 * | PAX 0.1 | record `GNU.sparse.map`: `offset,length,offset,length…` | GNU tar 1.15 |
 * | PAX 1.0 | decimal lines in front of the data, filled up to whole blocks | GNU tar, bsdtar |
 *
 * @see https://www.gnu.org/software/tar/manual/html_node/Sparse-Formats.html
 */
export interface FileLayout {
  /** Plain bytes, holes included. */
  readonly size: number;
  /** In order, inside the file, together `stored` bytes long. */
  readonly segments: readonly Segment[];
  /** Bytes of content that are in the archive. */
  readonly stored: number;
}

export interface Segment {
  /** First byte in the file. */
  readonly offset: number;
  readonly length: number;
}

export function wholeFile(size: number): FileLayout {
  return { size, segments: [{ offset: 0, length: size }], stored: size };
}

/** A map that is read block by block. */
export interface SparseMapBlocks {
  /** @returns the layout once `block` was the last of the map. @throws ThinError `corrupt` */
  push(block: Buffer): FileLayout | undefined;
}

/** Which PAX form a file has; none of them is `undefined`. @throws ThinError `corrupt` if unknown */
export function sparseFormOf(records: PaxRecords): 'records' | 'lines' | undefined {
  const major = records.get('GNU.sparse.major');
  const minor = records.get('GNU.sparse.minor');
  if (major === undefined && minor === undefined) {
    return hasSparseRecords(records) ? 'records' : undefined;
  }
  if (major === '1' && minor === '0') return 'lines';
  if (major === '0' && (minor === '0' || minor === '1')) return 'records';
  throw malformedLayer(`a sparse file has format ${major}.${minor} (wanted 0.0, 0.1 or 1.0)`);
}

export function hasSparseRecords(records: PaxRecords): boolean {
  for (const key of records.keys()) if (key.startsWith('GNU.sparse.')) return true;
  return false;
}

/** Forms 0.0 and 0.1. @throws ThinError `corrupt` */
export function layoutOfRecords(records: PaxRecords, stored: number): FileLayout {
  const text = records.get(sparseMapKey) ?? '';
  const numbers = text === '' ? [] : text.split(',', 2 * limits.sparseSegmentsMax + 2);
  const count = records.get('GNU.sparse.numblocks');
  if (numbers.length % 2 !== 0 || (count !== undefined && Number(count) !== numbers.length / 2)) {
    throw malformedLayer(
      `a sparse map has ${numbers.length} numbers (wanted ${count ?? ''} pairs)`,
    );
  }
  return checkedLayout(sizeOf(records), pairUp(numbers), stored);
}

/** The map of form 1.0: how many segments, then offset and length of each, a line each. */
export class SparseMapLines implements SparseMapBlocks {
  readonly #size: number;
  #stored: number;
  #text = '';
  #newlines = 0;
  #wanted = 1;

  /** Bytes one number with its newline may take; 2^63 has 19 digits. */
  static readonly #lineBytesMax = 20;

  /** @param stored bytes behind the header, map included */
  constructor(records: PaxRecords, stored: number) {
    this.#size = sizeOf(records);
    this.#stored = stored;
    this.#takeBlock();
  }

  push(block: Buffer): FileLayout | undefined {
    this.#text += block.toString('latin1');
    for (const byte of block) if (byte === 0x0a) this.#newlines += 1;
    if (this.#wanted === 1 && this.#newlines >= 1) this.#readCount();
    if (this.#newlines >= this.#wanted) {
      const numbers = this.#text.split('\n', this.#wanted).slice(1);
      return checkedLayout(this.#size, pairUp(numbers), this.#stored);
    }
    if (this.#text.length > this.#wanted * SparseMapLines.#lineBytesMax + blockSize) {
      throw malformedLayer('a sparse map has lines that are no numbers');
    }
    this.#takeBlock();
    return undefined;
  }

  #readCount(): void {
    const count = parseDecimal(this.#text.slice(0, this.#text.indexOf('\n')), 'the sparse count');
    checkCount(count);
    this.#wanted = 1 + 2 * count;
  }

  #takeBlock(): void {
    this.#stored -= blockSize;
    if (this.#stored < 0) throw malformedLayer('a sparse map leaves its entry');
  }
}

/** The old GNU form: begins in the file's header. */
export class OldSparseMap implements SparseMapBlocks {
  /** There already if the header holds all of it. */
  readonly layout: FileLayout | undefined;
  readonly #size: number;
  readonly #stored: number;
  readonly #segments: Segment[] = [];

  constructor(header: Buffer, stored: number) {
    this.#size = readNumber(header, 483, 12, 'the size of a sparse file');
    this.#stored = stored;
    this.#addPairs(header, 386, 4);
    this.layout = header[482] === 0 ? this.#finish() : undefined;
  }

  push(block: Buffer): FileLayout | undefined {
    this.#addPairs(block, 0, 21);
    checkCount(this.#segments.length);
    return block[504] === 0 ? this.#finish() : undefined;
  }

  #finish(): FileLayout {
    return checkedLayout(this.#size, this.#segments, this.#stored);
  }

  /** Up to the first pair that is empty. */
  #addPairs(block: Buffer, start: number, pairs: number): void {
    for (let at = start; at < start + pairs * 24 && block[at] !== 0; at += 24) {
      const offset = readNumber(block, at, 12, 'a sparse offset');
      const length = readNumber(block, at + 12, 12, 'a sparse length');
      if (length < 0) throw malformedLayer(`a sparse segment has ${length} bytes`);
      this.#segments.push({ offset, length });
    }
  }
}

function sizeOf(records: PaxRecords): number {
  const size = records.get('GNU.sparse.size') ?? records.get('GNU.sparse.realsize');
  if (size === undefined) throw malformedLayer('a sparse file has no GNU.sparse.realsize');
  return parseDecimal(size, 'the size of a sparse file');
}

function pairUp(numbers: readonly string[]): Segment[] {
  checkCount(numbers.length / 2);
  const segments: Segment[] = [];
  for (let at = 0; at + 1 < numbers.length; at += 2) {
    segments.push({
      offset: parseDecimal(numbers[at] ?? '', 'a sparse offset'),
      length: parseDecimal(numbers[at + 1] ?? '', 'a sparse length'),
    });
  }
  return segments;
}

function checkedLayout(size: number, segments: readonly Segment[], stored: number): FileLayout {
  if (size < 0) throw malformedLayer(`a sparse file has ${size} bytes (wanted 0 or more)`);
  let end = 0;
  let sum = 0;
  for (const { offset, length } of segments) {
    if (offset < end || offset + length > size) {
      throw malformedLayer(
        `${length} sparse bytes at ${offset} overlap others or leave their file of ${size} bytes`,
      );
    }
    end = offset + length;
    sum += length;
  }
  if (sum !== stored) throw malformedLayer(`a sparse map has places for ${sum} of ${stored} bytes`);
  return { size, segments, stored };
}

function checkCount(count: number): void {
  if (count > limits.sparseSegmentsMax) {
    throw malformedLayer(
      `a sparse map has ${count} segments (wanted at most ${limits.sparseSegmentsMax})`,
    );
  }
}
