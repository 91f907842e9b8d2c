import { ContentTable } from '../chunk/content-table.js';
import type { FileChunks, Pack } from '../chunk/frame.js';
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

/** Rows of the table, in the order of the map. */
interface Order {
  readonly packs: readonly Pack[];
  /** Frames of each of these packs. */
  readonly packFrames: readonly number[];
  readonly frames: readonly number[];
  /** Chunks of each of these frames. */
  readonly frameChunks: Uint32Array;
  readonly chunks: Uint32Array;
  /** Files of several chunks. */
  readonly files: readonly number[];
}

/**
 * The plain bytes of a chunk map (FORMAT.md). The same content in the same order gives the same bytes.
 * Takes some 130 bytes of memory for a chunk, the map's own 50 included.
 * @throws ThinError `invalid` if chunks do not add up to their file, overlap, or are in no pack
 */
export function encodeChunkMap(content: ChunkMapContent): Buffer {
  const table = collectFiles(content.files);
  const order = orderOf(table, content.packs);
  const counts: Counts = {
    packs: order.packs.length,
    frames: order.frames.length,
    chunks: order.chunks.length,
    files: order.files.length,
    references: order.files.reduce((sum, file) => sum + table.chunkCountOf(file), 0),
  };
  if (counts.packs > packsMax) throw invalid(`${counts.packs} packs (wanted at most ${packsMax})`);
  const bytes = Buffer.alloc(chunkMapSize(counts));
  writeHeader(bytes, counts);
  const sections = sectionsOf(bytes, counts);
  writePacks(sections.packs, order);
  writeFrames(sections, table, order);
  const numbers = writeChunks(sections, table, order);
  writeFiles(sections, table, order.files, numbers);
  return bytes;
}

type Sections = ReturnType<typeof sectionsOf>;

function invalid(what: string): ThinError {
  return new ThinError('invalid', `Cannot write chunk map: ${what}`);
}

function collectFiles(files: Iterable<FileChunks>): ContentTable {
  const table = new ContentTable();
  for (const file of files) {
    if (table.findFile(file.content) >= 0) continue;
    checkFile(file);
    table.takeFile(file);
  }
  return table;
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

function orderOf(table: ContentTable, packs: readonly Pack[]): Order {
  const framesOf = groupFrames(table, packs);
  const needed = packs.filter(({ digest }) => (framesOf.get(digest)?.length ?? 0) > 0);
  const packFrames = needed.map(({ digest }) => framesOf.get(digest) ?? []);
  const frames = packFrames.flat();
  const { counts, rows } = groupChunks(table, frames);
  const severalChunks = (file: number) => table.chunkCountOf(file) > 1;
  return {
    packs: needed,
    packFrames: packFrames.map(({ length }) => length),
    frames,
    frameChunks: counts,
    chunks: rows,
    files: filesByDigest(table).filter(severalChunks),
  };
}

/** The frames of each pack, sorted by their offset. */
function groupFrames(table: ContentTable, packs: readonly Pack[]): Map<Digest, number[]> {
  const framesOf = new Map(packs.map(({ digest }): [Digest, number[]] => [digest, []]));
  for (let row = 0; row < table.frameCount; row++) {
    const { pack } = table.frameAt(row);
    const frames = framesOf.get(pack);
    if (!frames) throw invalid(`a chunk is in pack ${pack}, which is not given`);
    frames.push(row);
  }
  const offsetOf = (row: number) => table.frameAt(row).offset;
  for (const frames of framesOf.values()) frames.sort((a, b) => offsetOf(a) - offsetOf(b));
  return framesOf;
}

/** The chunks of one frame after the other (a counting sort), within it by their offset. */
function groupChunks(table: ContentTable, frames: readonly number[]) {
  const placeOf = new Uint32Array(table.frameCount);
  for (const [place, frame] of frames.entries()) placeOf[frame] = place;
  const counts = new Uint32Array(frames.length);
  const placeOfChunk = (chunk: number) => placeOf[table.frameOf(chunk)] ?? 0;
  for (let chunk = 0; chunk < table.chunkCount; chunk++) {
    counts[placeOfChunk(chunk)] = (counts[placeOfChunk(chunk)] ?? 0) + 1;
  }
  const ends = new Uint32Array(frames.length);
  let end = 0;
  for (const [place, count] of counts.entries()) {
    ends[place] = end;
    end += count;
  }
  const rows = new Uint32Array(table.chunkCount);
  for (let chunk = 0; chunk < table.chunkCount; chunk++) {
    const place = placeOfChunk(chunk);
    const at = ends[place] ?? 0;
    rows[at] = chunk;
    ends[place] = at + 1;
  }
  for (const [place, count] of counts.entries()) {
    const last = ends[place] ?? 0;
    sortByOffset(rows.subarray(last - count, last), table);
  }
  return { counts, rows };
}

/** Chunks mostly come in the order of their frame, and to find that out is much quicker. */
function sortByOffset(rows: Uint32Array, table: ContentTable): void {
  let end = 0;
  for (const row of rows) {
    const offset = table.offsetOf(row);
    if (offset < end) {
      rows.sort((a, b) => table.offsetOf(a) - table.offsetOf(b));
      return;
    }
    end = offset;
  }
}

function filesByDigest(table: ContentTable): number[] {
  const files = Array.from({ length: table.fileCount }, (_, file) => file);
  return files.sort((a, b) => table.compareContents(a, b));
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

function writePacks(rows: Buffer, { packs, packFrames }: Order): void {
  for (const [index, { digest, size }] of packs.entries()) {
    const at = index * packRowSize;
    digestBytes(digest).copy(rows, at);
    rows.writeBigUInt64LE(BigInt(size), at + digestSize);
    rows.writeUInt32LE(packFrames[index] ?? 0, at + digestSize + 8);
  }
}

function writeFrames(sections: Sections, table: ContentTable, order: Order): void {
  let pack: Digest | undefined;
  let end = 0;
  for (const [row, number] of order.frames.entries()) {
    const frame = table.frameAt(number);
    if (frame.pack !== pack) end = 0;
    pack = frame.pack;
    if (frame.offset < end) throw invalid(`frames of pack ${pack} overlap at ${frame.offset}`);
    sections.frameGaps.writeBigUInt64LE(BigInt(frame.offset - end), row * 8);
    sections.frameLengths.writeUInt32LE(frame.length, row * 4);
    sections.framePlainLengths.writeUInt32LE(frame.plainLength, row * 4);
    sections.frameChunkCounts.writeUInt32LE(order.frameChunks[row] ?? 0, row * 4);
    sections.frameCodecs.writeUInt8(codecNumbers[frame.codec], row);
    end = frame.offset + frame.length;
  }
}

/** @returns the number of each chunk of the table: its place in the order of packs, frames, offsets. */
function writeChunks(sections: Sections, table: ContentTable, order: Order): Uint32Array {
  const numbers = new Uint32Array(order.chunks.length);
  const digests = table.chunkDigests;
  let frame: number | undefined;
  let end = 0;
  for (const [row, chunk] of order.chunks.entries()) {
    if (table.frameOf(chunk) !== frame) end = 0;
    frame = table.frameOf(chunk);
    const [offset, length] = [table.offsetOf(chunk), table.lengthOf(chunk)];
    if (offset < end) throw invalid(`chunk ${table.chunkAt(chunk).digest} overlaps another`);
    digests.copy(
      sections.chunkDigests,
      row * digestSize,
      chunk * digestSize,
      (chunk + 1) * digestSize,
    );
    sections.chunkGaps.writeUInt32LE(offset - end, row * 4);
    sections.chunkLengths.writeUInt32LE(length, row * 4);
    numbers[chunk] = row;
    end = offset + length;
  }
  return numbers;
}

function setBit(bits: Buffer, row: number): void {
  bits[row >> 3] = (bits[row >> 3] ?? 0) | (1 << (row & 7));
}

function writeFiles(
  sections: Sections,
  table: ContentTable,
  files: readonly number[],
  numbers: Uint32Array,
): void {
  for (let file = 0; file < table.fileCount; file++) {
    if (table.chunkCountOf(file) > 1) continue;
    for (const chunk of table.chunksOf(file)) setBit(sections.wholeFileBits, numbers[chunk] ?? 0);
  }
  let reference = 0;
  let expected = 0;
  for (const [row, file] of files.entries()) {
    digestBytes(table.contentOf(file)).copy(sections.fileDigests, row * digestSize);
    sections.fileChunkCounts.writeUInt32LE(table.chunkCountOf(file), row * 4);
    for (const chunk of table.chunksOf(file)) {
      const number = numbers[chunk] ?? 0;
      // What is not the next chunk wraps around: the reader adds in 32 bits too.
      sections.references.writeUInt32LE((number - expected) >>> 0, reference * 4);
      expected = number + 1;
      reference += 1;
    }
  }
}
