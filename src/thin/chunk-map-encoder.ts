import type { Chunk, FileChunks, Frame, Pack } from '../chunk/frame.js';
import { type Digest, digestBytes, digestSize } from '../digest.js';
import { ThinError } from '../errors.js';
import {
  type Counts,
  chunkMapMagic,
  chunkMapSize,
  chunkMapVersion,
  codecNumbers,
  headerFields,
  packRowSize,
  packsMax,
  sectionsOf,
} from './chunk-map-layout.js';

export interface ChunkMapContent {
  /** Every file that is not empty; a content that comes again is passed over. */
  readonly files: Iterable<FileChunks>;
  /** At least the packs that the chunks are in; the order is kept, and what no chunk needs left out. */
  readonly packs: readonly Pack[];
}

/** Chunks of one frame, to be sorted by their offset. */
interface FrameRow {
  readonly frame: Frame;
  readonly chunks: Chunk[];
}

interface PackRow {
  readonly pack: Pack;
  readonly frames: Map<number, FrameRow>;
}

interface Collected {
  readonly chunks: Map<Digest, Chunk>;
  readonly wholeFiles: Set<Digest>;
  readonly files: Map<Digest, readonly Chunk[]>;
}

/**
 * The plain bytes of a chunk map (FORMAT.md). The same content in the same order gives the same bytes.
 * @throws ThinError `invalid` if chunks do not add up to their file, overlap, or are in no pack
 */
export function encodeChunkMap(content: ChunkMapContent): Buffer {
  const collected = collectFiles(content.files);
  const packs = groupByPack(collected.chunks.values(), content.packs);
  if (packs.length > packsMax) throw invalid(`${packs.length} packs (wanted at most ${packsMax})`);
  const frames = packs.flatMap(sortedFrames);
  const files = [...collected.files].sort(([a], [b]) => (a < b ? -1 : 1));
  const counts: Counts = {
    packs: packs.length,
    frames: frames.length,
    chunks: collected.chunks.size,
    files: files.length,
    references: files.reduce((sum, [, chunks]) => sum + chunks.length, 0),
  };
  const bytes = Buffer.alloc(chunkMapSize(counts));
  writeHeader(bytes, counts);
  const sections = sectionsOf(bytes, counts);
  writePacks(sections.packs, packs);
  writeFrames(sections, frames);
  const numbers = writeChunks(sections, frames, collected.wholeFiles);
  writeFiles(sections, files, numbers);
  return bytes;
}

type Sections = ReturnType<typeof sectionsOf>;

function invalid(what: string): ThinError {
  return new ThinError('invalid', `Cannot write chunk map: ${what}`);
}

function collectFiles(files: Iterable<FileChunks>): Collected {
  const chunks = new Map<Digest, Chunk>();
  const wholeFiles = new Set<Digest>();
  const several = new Map<Digest, readonly Chunk[]>();
  for (const file of files) {
    if (wholeFiles.has(file.content) || several.has(file.content)) continue;
    checkFile(file);
    for (const chunk of file.chunks) {
      const known = chunks.get(chunk.digest);
      if (!known) chunks.set(chunk.digest, chunk);
      else if (known.length !== chunk.length)
        throw invalid(`chunk ${chunk.digest} has two lengths`);
    }
    if (file.chunks.length === 1) wholeFiles.add(file.content);
    else several.set(file.content, file.chunks);
  }
  return { chunks, wholeFiles, files: several };
}

function checkFile({ content, size, chunks }: FileChunks): void {
  const sum = chunks.reduce((total, chunk) => total + chunk.length, 0);
  if (chunks.length === 0 || sum !== size) {
    throw invalid(`the chunks of file ${content} have ${sum} bytes (wanted ${size}, not 0)`);
  }
  if (chunks.length === 1 && chunks[0]?.digest !== content) {
    throw invalid(`the only chunk of file ${content} is ${chunks[0]?.digest}`);
  }
}

function groupByPack(chunks: Iterable<Chunk>, packs: readonly Pack[]): PackRow[] {
  const rows = new Map(packs.map((pack) => [pack.digest, { pack, frames: new Map() } as PackRow]));
  for (const chunk of chunks) {
    const { frame } = chunk;
    const row = rows.get(frame.pack);
    if (!row) throw invalid(`chunk ${chunk.digest} is in pack ${frame.pack}, which is not given`);
    const known = row.frames.get(frame.offset);
    if (known && !sameFrame(known.frame, frame)) {
      throw invalid(`two different frames at ${frame.offset} of pack ${frame.pack}`);
    }
    if (known) known.chunks.push(chunk);
    else row.frames.set(frame.offset, { frame, chunks: [chunk] });
  }
  return [...rows.values()].filter((row) => row.frames.size > 0);
}

function sameFrame(a: Frame, b: Frame): boolean {
  return a.length === b.length && a.plainLength === b.plainLength && a.codec === b.codec;
}

function sortedFrames({ frames }: PackRow): FrameRow[] {
  const rows = [...frames.values()].sort((a, b) => a.frame.offset - b.frame.offset);
  for (const row of rows) row.chunks.sort((a, b) => a.offsetInFrame - b.offsetInFrame);
  return rows;
}

function writeHeader(bytes: Buffer, counts: Counts): void {
  chunkMapMagic.copy(bytes);
  bytes.writeUInt32LE(chunkMapVersion, headerFields.version);
  bytes.writeUInt32LE(counts.packs, headerFields.packs);
  bytes.writeUInt32LE(counts.frames, headerFields.frames);
  bytes.writeUInt32LE(counts.chunks, headerFields.chunks);
  bytes.writeUInt32LE(counts.files, headerFields.files);
  bytes.writeUInt32LE(counts.references, headerFields.references);
}

function writePacks(rows: Buffer, packs: readonly PackRow[]): void {
  for (const [index, { pack, frames }] of packs.entries()) {
    const at = index * packRowSize;
    digestBytes(pack.digest).copy(rows, at);
    rows.writeBigUInt64LE(BigInt(pack.size), at + digestSize);
    rows.writeUInt32LE(frames.size, at + digestSize + 8);
  }
}

function writeFrames(sections: Sections, frames: readonly FrameRow[]): void {
  let pack: Digest | undefined;
  let end = 0;
  for (const [row, { frame, chunks }] of frames.entries()) {
    if (frame.pack !== pack) end = 0;
    pack = frame.pack;
    if (frame.offset < end) throw invalid(`frames of pack ${pack} overlap at ${frame.offset}`);
    sections.frameGaps.writeBigUInt64LE(BigInt(frame.offset - end), row * 8);
    sections.frameLengths.writeUInt32LE(frame.length, row * 4);
    sections.framePlainLengths.writeUInt32LE(frame.plainLength, row * 4);
    sections.frameChunkCounts.writeUInt32LE(chunks.length, row * 4);
    sections.frameCodecs.writeUInt8(codecNumbers[frame.codec], row);
    end = frame.offset + frame.length;
  }
}

/** @returns the number of each chunk: its place in the order of packs, frames and offsets. */
function writeChunks(
  sections: Sections,
  frames: readonly FrameRow[],
  wholeFiles: ReadonlySet<Digest>,
): Map<Digest, number> {
  const numbers = new Map<Digest, number>();
  for (const { chunks } of frames) {
    let end = 0;
    for (const chunk of chunks) {
      const row = numbers.size;
      if (chunk.offsetInFrame < end) throw invalid(`chunk ${chunk.digest} overlaps another`);
      digestBytes(chunk.digest).copy(sections.chunkDigests, row * digestSize);
      sections.chunkGaps.writeUInt32LE(chunk.offsetInFrame - end, row * 4);
      sections.chunkLengths.writeUInt32LE(chunk.length, row * 4);
      if (wholeFiles.has(chunk.digest)) setBit(sections.wholeFileBits, row);
      numbers.set(chunk.digest, row);
      end = chunk.offsetInFrame + chunk.length;
    }
  }
  return numbers;
}

function setBit(bits: Buffer, row: number): void {
  bits[row >> 3] = (bits[row >> 3] ?? 0) | (1 << (row & 7));
}

function writeFiles(
  sections: Sections,
  files: readonly (readonly [Digest, readonly Chunk[]])[],
  numbers: ReadonlyMap<Digest, number>,
): void {
  let reference = 0;
  let expected = 0;
  for (const [row, [content, chunks]] of files.entries()) {
    digestBytes(content).copy(sections.fileDigests, row * digestSize);
    sections.fileChunkCounts.writeUInt32LE(chunks.length, row * 4);
    for (const { digest } of chunks) {
      const number = numbers.get(digest) ?? 0;
      // What is not the next chunk wraps around: the reader adds in 32 bits too.
      sections.references.writeUInt32LE((number - expected) >>> 0, reference * 4);
      expected = number + 1;
      reference += 1;
    }
  }
}
