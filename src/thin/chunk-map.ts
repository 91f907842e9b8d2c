import type { Chunk, Frame, Pack } from '../chunk/frame.js';
import { type Digest, digestBytes, digestFromBytes, digestSize } from '../digest.js';
import type { FileColumns } from '../file-columns.js';
import { type ChunkMapTables, decodeChunkMap, isWholeFile } from './chunk-map-decoder.js';
import { codecNumbers } from './chunk-map-layout.js';

/** Where a chunk belongs: `chunk.length` bytes at `offsetInFile` of the file `content`. */
export interface Placement {
  readonly content: Digest;
  /** Bytes of the whole file. */
  readonly size: number;
  readonly offsetInFile: number;
  readonly chunk: Chunk;
}

export interface FileSummary {
  readonly content: Digest;
  readonly size: number;
  readonly chunkCount: number;
}

/**
 * Places of one chunk that {@link ChunkMap.placementsIn} names: a chunk of zeros may recur millions
 * of times. What is beyond is found by {@link ChunkMap.chunksOf} when it is read.
 */
export const placementsPerChunkMax = 4096;

/** Which places each chunk has in files of several chunks; made when it is first asked for. */
interface PlacementIndex {
  /** References to chunk `c`: rows `first[c]` to `first[c + 1]` of `rows`. */
  readonly first: Uint32Array;
  readonly rows: Uint32Array;
  /** Of each reference: bytes from the start of its file. */
  readonly offsets: Float64Array;
}

/**
 * File digest → its chunks, chunk → where it is (FORMAT.md). Held as columns of numbers over the
 * decoded bytes, about 70 bytes a chunk; objects are made only for what is asked for.
 */
export class ChunkMap {
  readonly #tables: ChunkMapTables;
  #placements: PlacementIndex | undefined;

  private constructor(tables: ChunkMapTables) {
    this.#tables = tables;
  }

  /**
   * @param bytes the plain chunk map; kept and not to be changed afterwards
   * @throws ThinError `corrupt`; `invalid` for a newer version
   */
  static parse(bytes: Buffer): ChunkMap {
    return new ChunkMap(decodeChunkMap(bytes));
  }

  get packs(): readonly Pack[] {
    return this.#tables.packs;
  }

  get chunkCount(): number {
    return this.#tables.chunkLengths.length;
  }

  /** All frames, pack by pack. */
  *frames(): Generator<Frame, void> {
    for (let row = 0; row < this.#tables.frameLengths.length; row++) yield this.#frameAt(row);
  }

  /** The chunks of a file in order, which sum to its size; undefined for a file of another image. */
  chunksOf(content: Digest): readonly Chunk[] | undefined {
    const file = this.#findFile(content);
    if (file >= 0) return this.#chunksOfFile(file);
    const chunk = this.#tables.chunkIndex.find(content);
    if (chunk < 0 || !isWholeFile(this.#tables.wholeFileBits, chunk)) return undefined;
    return [this.#chunkAt(chunk, this.#frameAt(this.#frameOf(chunk)))];
  }

  /** The number of a file's content: that of its only chunk, or, behind all chunks, of the file. */
  numberOf(content: Digest): number | undefined {
    const file = this.#findFile(content);
    if (file >= 0) return this.chunkCount + file;
    const chunk = this.#tables.chunkIndex.find(content);
    const isFile = chunk >= 0 && isWholeFile(this.#tables.wholeFileBits, chunk);
    return isFile ? chunk : undefined;
  }

  /** Digests, 32 bytes each, in the order of {@link ChunkMap.numberOf}: of chunks, and behind all of files. */
  contentDigests(): { readonly chunks: Buffer; readonly files: Buffer } {
    return { chunks: this.#tables.chunkDigests, files: this.#tables.fileDigests };
  }

  find(chunk: Digest): Chunk | undefined {
    const row = this.#tables.chunkIndex.find(chunk);
    return row < 0 ? undefined : this.#chunkAt(row, this.#frameAt(this.#frameOf(row)));
  }

  /**
   * Where the chunks of a frame belong, in the order of the frame, each at most
   * {@link placementsPerChunkMax} times; empty for a frame of another image.
   */
  placementsIn(frame: Frame): Placement[] {
    const row = this.#findFrame(frame);
    if (row < 0) return [];
    const placements: Placement[] = [];
    const last = this.#tables.frameFirstChunk[row + 1] ?? 0;
    for (let chunk = this.#tables.frameFirstChunk[row] ?? 0; chunk < last; chunk++) {
      this.#placementsOf(chunk, this.#chunkAt(chunk, frame), placements);
    }
    return placements;
  }

  /** Frames before and behind one in its pack, without itself; none for a frame of another image. */
  framesAround(frame: Frame, before: number, behind: number): Frame[] {
    const { packs, packFirstFrame } = this.#tables;
    const row = this.#findFrame(frame);
    if (row < 0) return [];
    const pack = packs.findIndex(({ digest }) => digest === frame.pack);
    const first = Math.max(row - before, packFirstFrame[pack] ?? 0);
    const last = Math.min(row + behind, (packFirstFrame[pack + 1] ?? 0) - 1);
    const rows = Array.from({ length: last - first + 1 }, (_, at) => first + at);
    return rows.filter((at) => at !== row).map((at) => this.#frameAt(at));
  }

  /** Where a chunk belongs, at most {@link placementsPerChunkMax} times; empty for one of another image. */
  placementsOf(digest: Digest): Placement[] {
    const chunk = this.find(digest);
    const placements: Placement[] = [];
    if (chunk) this.#placementsOf(this.#tables.chunkIndex.find(digest), chunk, placements);
    return placements;
  }

  /** Every file that is not empty, once: those of several chunks first, by digest. */
  *files(): Generator<FileSummary> {
    const { fileDigests, fileFirstReference, chunkDigests, chunkLengths } = this.#tables;
    for (let file = 0; file + 1 < fileFirstReference.length; file++) {
      const chunkCount = (fileFirstReference[file + 1] ?? 0) - (fileFirstReference[file] ?? 0);
      const content = digestFromBytes(fileDigests, file * digestSize);
      yield { content, size: this.#sizeOf(file), chunkCount };
    }
    for (let chunk = 0; chunk < chunkLengths.length; chunk++) {
      if (!isWholeFile(this.#tables.wholeFileBits, chunk)) continue;
      const content = digestFromBytes(chunkDigests, chunk * digestSize);
      yield { content, size: chunkLengths[chunk] ?? 0, chunkCount: 1 };
    }
  }

  /** How many {@link ChunkMap.files} there are, and their bytes. */
  fileTotals(): { files: number; fileBytes: number } {
    const { fileFirstReference, chunkLengths, wholeFileBits } = this.#tables;
    let [files, fileBytes] = [fileFirstReference.length - 1, 0];
    for (let file = 0; file < files; file++) fileBytes += this.#sizeOf(file);
    for (let chunk = 0; chunk < chunkLengths.length; chunk++) {
      if (!isWholeFile(wholeFileBits, chunk)) continue;
      files += 1;
      fileBytes += chunkLengths[chunk] ?? 0;
    }
    return { files, fileBytes };
  }

  /** What {@link ChunkMap.files} gives, in the same order. */
  fileColumns(): FileColumns {
    const { fileDigests, chunkDigests, chunkLengths, wholeFileBits } = this.#tables;
    const several = fileDigests.length / digestSize;
    const digests = Buffer.allocUnsafeSlow(fileDigests.length + chunkDigests.length);
    const sizes = new Float64Array(several + chunkLengths.length);
    let count = several;
    fileDigests.copy(digests);
    for (let file = 0; file < several; file++) sizes[file] = this.#sizeOf(file);
    for (let chunk = 0; chunk < chunkLengths.length; chunk++) {
      const first = chunk;
      for (; isWholeFile(wholeFileBits, chunk); chunk++) sizes[count++] = chunkLengths[chunk] ?? 0;
      if (chunk === first) continue;
      // Those that follow one another by one call: there are tens of thousands.
      const at = (count - (chunk - first)) * digestSize;
      chunkDigests.copy(digests, at, first * digestSize, chunk * digestSize);
    }
    return { digests: digests.subarray(0, count * digestSize), sizes: sizes.subarray(0, count) };
  }

  #chunksOfFile(file: number): Chunk[] {
    const { fileFirstReference, references, frameFirstChunk } = this.#tables;
    const chunks: Chunk[] = [];
    let frame: Frame | undefined;
    let [firstInFrame, endOfFrame] = [0, 0];
    const last = fileFirstReference[file + 1] ?? 0;
    for (let at = fileFirstReference[file] ?? 0; at < last; at++) {
      const chunk = references[at] ?? 0;
      if (!frame || chunk < firstInFrame || chunk >= endOfFrame) {
        const row = this.#frameOf(chunk);
        frame = this.#frameAt(row);
        firstInFrame = frameFirstChunk[row] ?? 0;
        endOfFrame = frameFirstChunk[row + 1] ?? 0;
      }
      chunks.push(this.#chunkAt(chunk, frame));
    }
    return chunks;
  }

  #placementsOf(row: number, chunk: Chunk, placements: Placement[]): void {
    const { wholeFileBits, references, fileDigests, fileFirstReference } = this.#tables;
    if (isWholeFile(wholeFileBits, row)) {
      placements.push({ content: chunk.digest, size: chunk.length, offsetInFile: 0, chunk });
    }
    if (references.length === 0) return;
    this.#placements ??= indexPlacements(this.#tables);
    const index = this.#placements;
    const first = index.first[row] ?? 0;
    const last = Math.min(index.first[row + 1] ?? 0, first + placementsPerChunkMax);
    for (let at = first; at < last; at++) {
      const reference = index.rows[at] ?? 0;
      const file = lastAtMost(fileFirstReference, 0, fileFirstReference.length - 1, reference);
      placements.push({
        content: digestFromBytes(fileDigests, file * digestSize),
        size: this.#sizeOf(file, index.offsets),
        offsetInFile: index.offsets[reference] ?? 0,
        chunk,
      });
    }
  }

  /** Bytes of a file of several chunks; `offsets` spare the sum where they are known. */
  #sizeOf(file: number, offsets?: Float64Array): number {
    const { fileFirstReference, references, chunkLengths } = this.#tables;
    const last = (fileFirstReference[file + 1] ?? 0) - 1;
    const lengthOf = (at: number) => chunkLengths[references[at] ?? 0] ?? 0;
    if (offsets) return (offsets[last] ?? 0) + lengthOf(last);
    let size = 0;
    for (let at = fileFirstReference[file] ?? 0; at <= last; at++) size += lengthOf(at);
    return size;
  }

  #findFile(content: Digest): number {
    const { fileDigests } = this.#tables;
    const wanted = digestBytes(content);
    let low = 0;
    let high = fileDigests.length / digestSize;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const at = middle * digestSize;
      const order = wanted.compare(fileDigests, at, at + digestSize);
      if (order === 0) return middle;
      if (order < 0) high = middle;
      else low = middle + 1;
    }
    return -1;
  }

  #findFrame(frame: Frame): number {
    const { packs, packFirstFrame, frameOffsets, frameLengths, framePlainLengths } = this.#tables;
    const pack = packs.findIndex(({ digest }) => digest === frame.pack);
    if (pack < 0) return -1;
    const last = packFirstFrame[pack + 1] ?? 0;
    const row = lastAtMost(frameOffsets, packFirstFrame[pack] ?? 0, last, frame.offset);
    const same =
      frameOffsets[row] === frame.offset &&
      frameLengths[row] === frame.length &&
      framePlainLengths[row] === frame.plainLength;
    return same ? row : -1;
  }

  #frameOf(chunk: number): number {
    const { frameFirstChunk } = this.#tables;
    return lastAtMost(frameFirstChunk, 0, frameFirstChunk.length - 1, chunk);
  }

  #frameAt(row: number): Frame {
    const { packs, packFirstFrame, frameOffsets, frameLengths, framePlainLengths, frameCodecs } =
      this.#tables;
    const pack = packs[lastAtMost(packFirstFrame, 0, packs.length, row)];
    if (!pack) throw new RangeError(`frame ${row} is in no pack`);
    return {
      pack: pack.digest,
      offset: frameOffsets[row] ?? 0,
      length: frameLengths[row] ?? 0,
      plainLength: framePlainLengths[row] ?? 0,
      codec: frameCodecs[row] === codecNumbers.stored ? 'stored' : 'zstd',
    };
  }

  #chunkAt(row: number, frame: Frame): Chunk {
    return {
      digest: digestFromBytes(this.#tables.chunkDigests, row * digestSize),
      length: this.#tables.chunkLengths[row] ?? 0,
      frame,
      offsetInFrame: this.#tables.chunkOffsets[row] ?? 0,
    };
  }
}

/** The last row from `first` to before `end` whose value is at most `value`; `first` if none is. */
function lastAtMost(
  column: Uint32Array | Float64Array,
  first: number,
  end: number,
  value: number,
): number {
  let low = first;
  let high = end;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if ((column[middle] ?? 0) <= value) low = middle;
    else high = middle;
  }
  return low;
}

/** References sorted by chunk (a counting sort, so in file order within a chunk). */
function indexPlacements(tables: ChunkMapTables): PlacementIndex {
  const { references, chunkLengths, fileFirstReference } = tables;
  const first = new Uint32Array(chunkLengths.length + 1);
  for (const chunk of references) first[chunk + 1] = (first[chunk + 1] ?? 0) + 1;
  for (let row = 1; row < first.length; row++)
    first[row] = (first[row] ?? 0) + (first[row - 1] ?? 0);
  const next = first.slice();
  const rows = new Uint32Array(references.length);
  const offsets = new Float64Array(references.length);
  for (let file = 0; file + 1 < fileFirstReference.length; file++) {
    let offset = 0;
    const last = fileFirstReference[file + 1] ?? 0;
    for (let at = fileFirstReference[file] ?? 0; at < last; at++) {
      const chunk = references[at] ?? 0;
      const slot = next[chunk] ?? 0;
      rows[slot] = at;
      next[chunk] = slot + 1;
      offsets[at] = offset;
      offset += chunkLengths[chunk] ?? 0;
    }
  }
  return { first, rows, offsets };
}
