import { createHash } from 'node:crypto';
import { isLittleEndian } from '../byte-order.js';
import type { FileRef } from '../cache/file-origin.js';
import type { Digest } from '../digest.js';
import { ThinError } from '../errors.js';
import type { FileColumns } from '../file-columns.js';
import { limits } from '../limits.js';
import {
  compareDigests,
  digestWords,
  entryWords,
  parseHex,
  type SharedFileList,
  wordValues,
} from './file-list.js';

/** Files taken between looks at what else this process has to do: about 2 ms. */
const filesPerTurn = 4096;
const filesMax = 2 ** 24;
/** Files are sorted into as many buckets as there are files, and at most so many, by the first bits of their digests. */
const bucketBitsMax = 16;
/** Of one bucket: more are sorted by a call. Only who chose the digests can make one so large where there are few files. */
const insertedMax = 8;
const hexStart = 'sha256:'.length;

/**
 * In the order in which they were told. A start waits for the list, and its code has not been compiled by then: words are
 * signed, which V8 has as numbers that need no memory each, and what can be is done by one call for all.
 */
interface ToldFiles {
  /** 8 words each, as an entry has them. */
  readonly digests: Int32Array;
  /** Bytes. */
  readonly sizes: Float64Array;
}

/**
 * @param files may name a file several times
 * @throws ThinError `corrupt` if they contradict each other or are none, `no-space` beyond
 *   16 million, and whatever `files` throws
 */
export async function makeFileList(
  image: Digest,
  files: Iterable<FileRef> | FileColumns,
): Promise<SharedFileList> {
  const told = 'digests' in files ? wordsOf(files) : await collect(files);
  const order = sortedOrder(told.digests);
  const count = dropRepeated(told, order);
  const entries = new SharedArrayBuffer(count * entryWords * Uint32Array.BYTES_PER_ELEMENT);
  writeEntries(told, order.subarray(0, count), entries);
  return { image, name: fileListName(image, new Uint32Array(entries)), entries };
}

/** @param words all entries */
export function fileListName(image: Digest, words: Uint32Array): string {
  const hash = createHash('sha256').update(`thinfs file list 1\n${image}\n`);
  return hash.update(words).digest('hex');
}

async function collect(files: Iterable<FileRef>): Promise<ToldFiles> {
  let digests = new Int32Array(filesPerTurn * digestWords);
  let sizes = new Float64Array(filesPerTurn);
  let count = 0;
  for (const { content, size } of files) {
    if (count === filesMax) throw tooMany();
    if (count === sizes.length) {
      const [fewerDigests, fewerSizes] = [digests, sizes];
      digests = new Int32Array(fewerDigests.length * 2);
      digests.set(fewerDigests);
      sizes = new Float64Array(fewerSizes.length * 2);
      sizes.set(fewerSizes);
    }
    const isSize = Number.isSafeInteger(size) && size >= 0 && size <= limits.fileBytesMax;
    if (!isSize || !parseHex(content, digests, count * digestWords, hexStart)) {
      throw new ThinError('corrupt', `Cannot show ${content} of ${size} bytes: wanted a SHA-256`);
    }
    sizes[count] = size;
    count += 1;
    if (count % filesPerTurn === 0) await new Promise(setImmediate);
  }
  return { digests: digests.subarray(0, count * digestWords), sizes: sizes.subarray(0, count) };
}

function wordsOf({ digests, sizes }: FileColumns): ToldFiles {
  if (sizes.length > filesMax) throw tooMany();
  const words = new Int32Array(digests.length / Int32Array.BYTES_PER_ELEMENT);
  const bytes = Buffer.from(words.buffer);
  digests.copy(bytes);
  if (isLittleEndian) bytes.swap32();
  return { digests: words, sizes };
}

/** The places of files, by digest. */
function sortedOrder(digests: Int32Array): Int32Array {
  const count = digests.length / digestWords;
  const bits = Math.min(Math.ceil(Math.log2(count + 2)), bucketBitsMax);
  const shift = 32 - bits;
  /** Where the next of a bucket goes; once all have gone, where the bucket ends. */
  const next = new Int32Array(2 ** bits + 1);
  for (let at = 0; at < digests.length; at += digestWords) {
    const after = ((digests[at] ?? 0) >>> shift) + 1;
    next[after] = (next[after] ?? 0) + 1;
  }
  for (let bucket = 1; bucket < next.length; bucket++) {
    next[bucket] = (next[bucket] ?? 0) + (next[bucket - 1] ?? 0);
  }
  const order = new Int32Array(count);
  for (let place = 0; place < count; place++) {
    const bucket = (digests[place * digestWords] ?? 0) >>> shift;
    const at = next[bucket] ?? 0;
    order[at] = place;
    next[bucket] = at + 1;
  }
  for (let bucket = 0, first = 0; first < count; bucket++) {
    const end = next[bucket] ?? 0;
    if (end - first > 1) sortBucket(order, first, end, digests);
    first = end;
  }
  return order;
}

function sortBucket(order: Int32Array, first: number, end: number, digests: Int32Array): void {
  if (end - first > insertedMax) {
    order.subarray(first, end).sort((a, b) => compareFiles(digests, a, b));
    return;
  }
  for (let taken = first + 1; taken < end; taken++) {
    const place = order[taken] ?? 0;
    let at = taken;
    for (; at > first; at--) {
      const before = order[at - 1] ?? 0;
      if (compareFiles(digests, before, place) <= 0) break;
      order[at] = before;
    }
    order[at] = place;
  }
}

function compareFiles(digests: Int32Array, one: number, other: number): number {
  return compareDigests(digests, one * digestWords, digests, other * digestWords);
}

/**
 * Moves what is left to the front of `order`.
 * @returns how many are left
 * @throws ThinError `corrupt` if there is a digest with two sizes
 */
function dropRepeated({ digests, sizes }: ToldFiles, order: Int32Array): number {
  let count = 0;
  let last = -1;
  for (let at = 0; at < order.length; at++) {
    const place = order[at] ?? 0;
    // Nearly always the first words tell.
    const isAlike = digests[last * digestWords] === digests[place * digestWords];
    if (last >= 0 && isAlike && compareFiles(digests, last, place) === 0) {
      if (sizes[last] !== sizes[place]) throw twoSizes();
      continue;
    }
    order[count] = place;
    count += 1;
    last = place;
  }
  return count;
}

function writeEntries(told: ToldFiles, order: Int32Array, entries: SharedArrayBuffer): void {
  const { digests, sizes } = told;
  const words = new Int32Array(entries);
  let to = 0;
  for (let file = 0; file < order.length; file++) {
    const place = order[file] ?? 0;
    const from = place * digestWords;
    for (let at = 0; at < digestWords; at++) words[to + at] = digests[from + at] ?? 0;
    const size = sizes[place] ?? 0;
    words[to + digestWords] = size; // its lowest 32 bits
    words[to + digestWords + 1] = size / wordValues;
    to += entryWords;
  }
}

function twoSizes(): ThinError {
  return new ThinError('corrupt', 'Cannot show a file: its image says two different sizes of it');
}

function tooMany(): ThinError {
  return new ThinError('no-space', `Cannot show more than ${filesMax} files of an image`);
}
