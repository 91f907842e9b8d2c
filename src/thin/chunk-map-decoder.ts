import { isLittleEndian } from '../byte-order.js';
import type { Pack } from '../chunk/frame.js';
import { type Digest, digestFromBytes, digestSize } from '../digest.js';
import { ThinError } from '../errors.js';
import { limits } from '../limits.js';
import {
  type Counts,
  chunkBytesMax,
  chunkMapMagic,
  chunkMapSize,
  chunkMapVersion,
  codecNumbers,
  framePlainBytesMax,
  headerFields,
  headerSize,
  packRowSize,
  packsMax,
  type SectionName,
  sectionsOf,
} from './chunk-map-layout.js';
import { DigestIndex } from './digest-index.js';

/**
 * A chunk map as columns. Rows of one thing are contiguous under their owner: the frames of pack `p`
 * are `packFirstFrame[p]` to `packFirstFrame[p + 1]`, and so on for chunks of frames and references
 * of files; each of these columns has one row more than there are owners.
 */
export interface ChunkMapTables {
  readonly packs: readonly Pack[];
  readonly packFirstFrame: Uint32Array;
  readonly frameOffsets: Float64Array;
  readonly frameLengths: Uint32Array;
  readonly framePlainLengths: Uint32Array;
  readonly frameCodecs: Buffer;
  readonly frameFirstChunk: Uint32Array;
  readonly chunkDigests: Buffer;
  readonly chunkOffsets: Uint32Array;
  readonly chunkLengths: Uint32Array;
  readonly chunkIndex: DigestIndex;
  /** Bit `c & 7` of byte `c >> 3`: chunk `c` is a whole file by itself. */
  readonly wholeFileBits: Buffer;
  readonly fileDigests: Buffer;
  readonly fileFirstReference: Uint32Array;
  /** Chunk numbers. */
  readonly references: Uint32Array;
}

type Sections = Readonly<Record<SectionName, Buffer>>;

/**
 * Decodes and checks a whole chunk map: every rule of FORMAT.md, in time linear in its size.
 * @throws ThinError `corrupt`; `invalid` for a version newer than {@link chunkMapVersion}
 */
export function decodeChunkMap(bytes: Buffer): ChunkMapTables {
  const counts = readHeader(bytes);
  const sections = sectionsOf(bytes, counts);
  const { packs, packFirstFrame } = readPacks(sections.packs, counts);
  const frames = readFrames(sections, packs, packFirstFrame);
  const frameFirstChunk = prefixSums(sections.frameChunkCounts, 1, counts.chunks, 'frame');
  const chunks = readChunks(sections, frames.framePlainLengths, frameFirstChunk);
  const chunkIndex = indexChunks(sections.chunkDigests);
  checkBits(sections.wholeFileBits, counts.chunks);
  const files = readFiles(sections, counts, chunks.chunkLengths);
  checkFileDigests(sections, chunkIndex);
  return {
    packs,
    packFirstFrame,
    ...frames,
    frameFirstChunk,
    ...chunks,
    chunkDigests: sections.chunkDigests,
    chunkIndex,
    wholeFileBits: sections.wholeFileBits,
    fileDigests: sections.fileDigests,
    ...files,
  };
}

function corrupt(what: string): ThinError {
  return new ThinError('corrupt', `Cannot read chunk map: ${what}`);
}

function readHeader(bytes: Buffer): Counts {
  if (bytes.length < headerSize) throw corrupt(`${bytes.length} bytes (wanted ${headerSize})`);
  if (!bytes.subarray(0, chunkMapMagic.length).equals(chunkMapMagic)) throw corrupt('wrong magic');
  const version = bytes.readUInt32LE(headerFields.version);
  if (version > chunkMapVersion) {
    throw new ThinError(
      'invalid',
      `Cannot read chunk map: it has version ${version} (wanted at most ${chunkMapVersion}); ` +
        'a newer thinfs reads it',
    );
  }
  if (version !== chunkMapVersion) throw corrupt(`version ${version} (wanted ${chunkMapVersion})`);
  const counts = {
    packs: bytes.readUInt32LE(headerFields.packs),
    frames: bytes.readUInt32LE(headerFields.frames),
    chunks: bytes.readUInt32LE(headerFields.chunks),
    files: bytes.readUInt32LE(headerFields.files),
    references: bytes.readUInt32LE(headerFields.references),
  };
  const size = chunkMapSize(counts);
  if (size !== bytes.length) throw corrupt(`${bytes.length} bytes (wanted ${size} by its header)`);
  if (counts.packs > packsMax) throw corrupt(`${counts.packs} packs (wanted at most ${packsMax})`);
  return counts;
}

function readPacks(rows: Buffer, counts: Counts) {
  const packs: Pack[] = [];
  const seen = new Set<Digest>();
  const packFirstFrame = new Uint32Array(counts.packs + 1);
  let frames = 0;
  for (let at = 0; at < rows.length; at += packRowSize) {
    const digest = digestFromBytes(rows, at);
    if (seen.has(digest)) throw corrupt(`pack ${digest} twice`);
    seen.add(digest);
    packs.push({ digest, size: readSafeInteger(rows, at + digestSize) });
    const own = rows.readUInt32LE(at + digestSize + 8);
    if (own === 0) throw corrupt(`pack ${digest} without a frame`);
    if (rows.readUInt32LE(at + digestSize + 12) !== 0) throw corrupt('a padding is not zero');
    frames += own;
    if (frames > counts.frames) throw corrupt('more frames in packs than there are');
    packFirstFrame[packs.length] = frames;
  }
  if (frames !== counts.frames) throw corrupt('frames that are in no pack');
  return { packs, packFirstFrame };
}

function readFrames(sections: Sections, packs: readonly Pack[], packFirstFrame: Uint32Array) {
  const frameLengths = numbers(sections.frameLengths);
  const framePlainLengths = numbers(sections.framePlainLengths);
  const frameOffsets = new Float64Array(frameLengths.length);
  for (const [index, pack] of packs.entries()) {
    let end = 0;
    const last = packFirstFrame[index + 1] ?? 0;
    for (let frame = packFirstFrame[index] ?? 0; frame < last; frame++) {
      const length = frameLengths[frame] ?? 0;
      checkFrame(length, framePlainLengths[frame] ?? 0, sections.frameCodecs[frame] ?? -1);
      const offset = end + readSafeInteger(sections.frameGaps, frame * 8);
      frameOffsets[frame] = offset;
      end = offset + length;
      if (end > pack.size) throw corrupt(`a frame beyond the end of pack ${pack.digest}`);
    }
  }
  return { frameOffsets, frameLengths, framePlainLengths, frameCodecs: sections.frameCodecs };
}

function checkFrame(length: number, plainLength: number, codec: number): void {
  if (length === 0 || plainLength > framePlainBytesMax) {
    throw corrupt(`a frame of ${length} bytes for ${plainLength} (at most ${framePlainBytesMax})`);
  }
  const fits =
    codec === codecNumbers.stored
      ? length === plainLength
      : codec === codecNumbers.zstd && length < plainLength;
  if (!fits) throw corrupt(`a frame of ${length} bytes for ${plainLength} with codec ${codec}`);
}

function readChunks(sections: Sections, plainLengths: Uint32Array, frameFirstChunk: Uint32Array) {
  const chunkLengths = numbers(sections.chunkLengths);
  const chunkOffsets = numbers(sections.chunkGaps);
  for (let frame = 0; frame < plainLengths.length; frame++) {
    let end = 0;
    const last = frameFirstChunk[frame + 1] ?? 0;
    for (let chunk = frameFirstChunk[frame] ?? 0; chunk < last; chunk++) {
      const length = chunkLengths[chunk] ?? 0;
      if (length === 0 || length > chunkBytesMax) {
        throw corrupt(`a chunk of ${length} bytes (wanted 1 to ${chunkBytesMax})`);
      }
      const offset = end + (chunkOffsets[chunk] ?? 0);
      end = offset + length;
      if (end > (plainLengths[frame] ?? 0)) throw corrupt('a chunk beyond the end of its frame');
      chunkOffsets[chunk] = offset;
    }
  }
  return { chunkLengths, chunkOffsets };
}

function indexChunks(digests: Buffer): DigestIndex {
  const index = DigestIndex.build(digests);
  if (index instanceof DigestIndex) return index;
  throw corrupt(`chunk ${digestFromBytes(digests, index.duplicate * digestSize)} twice`);
}

function checkBits(bits: Buffer, chunks: number): void {
  const spare = bits.length * 8 - chunks;
  if (spare > 0 && (bits[bits.length - 1] ?? 0) >> (8 - spare) !== 0) {
    throw corrupt('a padding is not zero');
  }
}

function readFiles(sections: Sections, counts: Counts, chunkLengths: Uint32Array) {
  const firstReference = prefixSums(sections.fileChunkCounts, 2, counts.references, 'file');
  const references = numbers(sections.references);
  let expected = 0;
  for (let file = 0; file < counts.files; file++) {
    let size = 0;
    const last = firstReference[file + 1] ?? 0;
    for (let at = firstReference[file] ?? 0; at < last; at++) {
      const chunk = (expected + (references[at] ?? 0)) >>> 0;
      if (chunk >= counts.chunks)
        throw corrupt(`a reference to chunk ${chunk}, which is not there`);
      references[at] = chunk;
      expected = chunk + 1;
      size += chunkLengths[chunk] ?? 0;
    }
    if (size > limits.fileBytesMax) {
      throw corrupt(`a file of ${size} bytes (wanted at most ${limits.fileBytesMax})`);
    }
  }
  return { fileFirstReference: firstReference, references };
}

/** Sorted, each once, and none that is a file of one chunk too: a file has one list of chunks. */
function checkFileDigests(sections: Sections, chunks: DigestIndex): void {
  const digests = sections.fileDigests;
  for (let at = 0; at < digests.length; at += digestSize) {
    const end = at + digestSize;
    if (at > 0 && digests.compare(digests, at - digestSize, at, at, end) <= 0) {
      throw corrupt('files not sorted by digest, or one of them twice');
    }
    const chunk = chunks.findBytes(digests, at);
    if (chunk >= 0 && isWholeFile(sections.wholeFileBits, chunk)) {
      throw corrupt(`file ${digestFromBytes(digests, at)} with two lists of chunks`);
    }
  }
}

export function isWholeFile(bits: Buffer, chunk: number): boolean {
  return ((bits[chunk >> 3] ?? 0) & (1 << (chunk & 7))) !== 0;
}

function numbers(column: Buffer): Uint32Array {
  const rows = new Uint32Array(column.length / 4);
  const bytes = Buffer.from(rows.buffer);
  column.copy(bytes);
  if (!isLittleEndian) bytes.swap32();
  return rows;
}

/** First rows of each owner, from a column of how many each has (at least `least`, `total` in all). */
function prefixSums(column: Buffer, least: number, total: number, owner: string): Uint32Array {
  const counts = numbers(column);
  const first = new Uint32Array(counts.length + 1);
  let sum = 0;
  for (const [row, count] of counts.entries()) {
    if (count < least) throw corrupt(`a ${owner} of ${count} chunks (wanted at least ${least})`);
    sum += count;
    if (sum > total) throw corrupt(`chunks of a ${owner} beyond the end of the column`);
    first[row + 1] = sum;
  }
  if (sum !== total) throw corrupt(`${total - sum} chunks that belong to no ${owner}`);
  return first;
}

/** A u64 that JavaScript can add without rounding; two of them sum to less than 2^54. */
function readSafeInteger(bytes: Buffer, offset: number): number {
  const high = bytes.readUInt32LE(offset + 4);
  if (high >= 2 ** 21) throw corrupt('a size or offset of 2^53 or more');
  return high * 2 ** 32 + bytes.readUInt32LE(offset);
}
