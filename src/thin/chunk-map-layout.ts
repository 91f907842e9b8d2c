import { digestSize } from '../digest.js';
import { limits } from '../limits.js';

/**
 * The numbers of FORMAT.md, "Chunk map": sizes of fields and order of columns, shared by the encoder
 * and the decoder. All integers are little-endian.
 */
export const chunkMapVersion = 1;
export const chunkMapMagic = Buffer.from('thinmap\0', 'latin1');

/** Plain bytes of one chunk: FastCDC's upper limit. */
export const chunkBytesMax = 256 * 1024;
/** Plain bytes of one frame: closed at 256 KiB or after the chunk that passes it. */
export const framePlainBytesMax = 256 * 1024 + chunkBytesMax;
/** Packs that one image refers to: with metadata and chunk map they are a manifest's layers. */
export const packsMax = limits.layersMax - 2;

export const headerSize = 32;
/** Offsets of the header's fields. */
export const headerFields = {
  version: 8,
  packs: 12,
  frames: 16,
  chunks: 20,
  files: 24,
  references: 28,
} as const;

/** A pack's row: digest, size (u64), number of its frames (u32), zero (u32). */
export const packRowSize = digestSize + 16;

export interface Counts {
  readonly packs: number;
  readonly frames: number;
  readonly chunks: number;
  /** Files of several chunks; a file of one chunk is a bit of the last column. */
  readonly files: number;
  /** Chunks of all those files together, repetitions counted. */
  readonly references: number;
}

/** Bytes of every section behind the header, in the order of the file. */
function sectionSizes(counts: Counts) {
  return {
    packs: counts.packs * packRowSize,
    frameGaps: counts.frames * 8,
    frameLengths: counts.frames * 4,
    framePlainLengths: counts.frames * 4,
    frameChunkCounts: counts.frames * 4,
    chunkDigests: counts.chunks * digestSize,
    chunkGaps: counts.chunks * 4,
    chunkLengths: counts.chunks * 4,
    fileDigests: counts.files * digestSize,
    fileChunkCounts: counts.files * 4,
    references: counts.references * 4,
    frameCodecs: counts.frames,
    wholeFileBits: Math.ceil(counts.chunks / 8),
  };
}

export type SectionName = keyof ReturnType<typeof sectionSizes>;

/** Bytes of the whole file; exact for any counts of 32 bits. */
export function chunkMapSize(counts: Counts): number {
  return Object.values(sectionSizes(counts)).reduce((sum, size) => sum + size, headerSize);
}

/** Cuts `bytes`, which must be {@link chunkMapSize} long, into its sections without copying. */
export function sectionsOf(bytes: Buffer, counts: Counts): Readonly<Record<SectionName, Buffer>> {
  let at = headerSize;
  const cut = (size: number) => {
    at += size;
    return bytes.subarray(at - size, at);
  };
  const sizes = sectionSizes(counts);
  return {
    packs: cut(sizes.packs),
    frameGaps: cut(sizes.frameGaps),
    frameLengths: cut(sizes.frameLengths),
    framePlainLengths: cut(sizes.framePlainLengths),
    frameChunkCounts: cut(sizes.frameChunkCounts),
    chunkDigests: cut(sizes.chunkDigests),
    chunkGaps: cut(sizes.chunkGaps),
    chunkLengths: cut(sizes.chunkLengths),
    fileDigests: cut(sizes.fileDigests),
    fileChunkCounts: cut(sizes.fileChunkCounts),
    references: cut(sizes.references),
    frameCodecs: cut(sizes.frameCodecs),
    wholeFileBits: cut(sizes.wholeFileBits),
  };
}

/** Numbers of the codecs in the column of codecs. */
export const codecNumbers = { stored: 0, zstd: 1 } as const;
