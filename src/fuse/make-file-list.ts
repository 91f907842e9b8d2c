import { createHash } from 'node:crypto';
import type { FileRef } from '../cache/file-origin.js';
import type { Digest } from '../digest.js';
import { ThinError } from '../errors.js';
import type { FileColumns } from '../file-columns.js';
import { limits } from '../limits.js';
import {
  compareDigests,
  digestWords,
  entryWords,
  isLittleEndian,
  parseHex,
  type SharedFileList,
  wordValues,
} from './file-list.js';

/** Files taken between looks at what else this process has to do: about 2 ms. */
const filesPerTurn = 4096;
/** Of a sort key: bits of the digest, and below them bits of where it was. Both fit a number. */
const alikeBits = 29;
const positionBits = 24;
const positions = 2 ** positionBits;
const hexStart = 'sha256:'.length;

/**
 * @param files may name a file several times
 * @throws ThinError `corrupt` if they contradict each other or are none, `no-space` beyond
 *   16 million, and whatever `files` throws
 */
export async function makeFileList(
  image: Digest,
  files: Iterable<FileRef> | FileColumns,
): Promise<SharedFileList> {
  const unsorted = 'digests' in files ? entriesOf(files) : await collect(files);
  const order = sortedOrder(unsorted);
  const count = dropRepeated(unsorted, order);
  const entries = new SharedArrayBuffer(count * entryWords * Uint32Array.BYTES_PER_ELEMENT);
  const words = new Uint32Array(entries);
  for (let file = 0; file < count; file++) copyEntry(unsorted, order[file] ?? 0, words, file);
  return { image, name: fileListName(image, words), entries };
}

/** @param words all entries */
export function fileListName(image: Digest, words: Uint32Array): string {
  const hash = createHash('sha256').update(`thinfs file list 1\n${image}\n`);
  return hash.update(words).digest('hex');
}

async function collect(files: Iterable<FileRef>): Promise<Uint32Array> {
  let words = new Uint32Array(filesPerTurn * entryWords);
  let count = 0;
  for (const file of files) {
    if (count === positions) throw tooMany();
    if (count * entryWords === words.length) {
      const larger = new Uint32Array(words.length * 2);
      larger.set(words);
      words = larger;
    }
    writeEntry(words, count, file);
    count += 1;
    if (count % filesPerTurn === 0) await new Promise(setImmediate);
  }
  return words.subarray(0, count * entryWords);
}

function entriesOf({ digests, sizes }: FileColumns): Uint32Array {
  if (sizes.length > positions) throw tooMany();
  const swapped = new Uint32Array(digests.length / Uint32Array.BYTES_PER_ELEMENT);
  const bytes = Buffer.from(swapped.buffer);
  digests.copy(bytes);
  if (isLittleEndian) bytes.swap32();
  const words = new Uint32Array(sizes.length * entryWords);
  for (let file = 0; file < sizes.length; file++) {
    const at = file * entryWords;
    for (let word = 0; word < digestWords; word++) {
      words[at + word] = swapped[file * digestWords + word] ?? 0;
    }
    writeSize(words, at, sizes[file] ?? 0);
  }
  return words;
}

function writeEntry(words: Uint32Array, file: number, { content, size }: FileRef): void {
  const at = file * entryWords;
  const isSize = Number.isSafeInteger(size) && size >= 0 && size <= limits.fileBytesMax;
  if (!isSize || !parseHex(content, words, at, hexStart)) {
    throw new ThinError('corrupt', `Cannot show ${content} of ${size} bytes: wanted a SHA-256`);
  }
  writeSize(words, at, size);
}

function writeSize(words: Uint32Array, at: number, size: number): void {
  words[at + digestWords] = size % wordValues;
  words[at + digestWords + 1] = Math.floor(size / wordValues);
}

/**
 * Where the entries are, by digest. Numbers that hold the digest's first bits are sorted, much faster
 * than anything that is compared by a call; digests with the same first bits are few.
 */
function sortedOrder(words: Uint32Array): Float64Array {
  const count = words.length / entryWords;
  const keys = new Float64Array(count);
  for (let at = 0; at < count; at++) {
    const alike = (words[at * entryWords] ?? 0) >>> (32 - alikeBits);
    keys[at] = alike * positions + at;
  }
  keys.sort();
  const byDigest = (a: number, b: number) => compareDigests(words, a, words, b);
  for (let first = 0; first < count; ) {
    const alike = Math.floor((keys[first] ?? 0) / positions);
    let end = first;
    for (; end < count && Math.floor((keys[end] ?? 0) / positions) === alike; end++) {
      keys[end] = (keys[end] ?? 0) % positions;
    }
    if (end - first > 1) keys.subarray(first, end).sort(byDigest);
    first = end;
  }
  return keys;
}

/**
 * Moves what is left to the front of `order`.
 * @returns how many are left
 * @throws ThinError `corrupt` if there is a digest with two sizes
 */
function dropRepeated(words: Uint32Array, order: Float64Array): number {
  let count = 0;
  for (const entry of order) {
    const previous = order[count - 1];
    if (previous !== undefined && compareDigests(words, previous, words, entry) === 0) {
      if (!isSameSize(words, previous, entry)) throw twoSizes();
      continue;
    }
    order[count] = entry;
    count += 1;
  }
  return count;
}

function isSameSize(words: Uint32Array, one: number, other: number): boolean {
  const [a, b] = [one * entryWords + digestWords, other * entryWords + digestWords];
  return words[a] === words[b] && words[a + 1] === words[b + 1];
}

function copyEntry(from: Uint32Array, entry: number, to: Uint32Array, file: number): void {
  for (let at = 0; at < entryWords; at++) {
    to[file * entryWords + at] = from[entry * entryWords + at] ?? 0;
  }
}

function twoSizes(): ThinError {
  return new ThinError('corrupt', 'Cannot show a file: its image says two different sizes of it');
}

function tooMany(): ThinError {
  return new ThinError('no-space', `Cannot show more than ${positions} files of an image`);
}
