import { digestSize } from '../digest.js';

/*
 * What a layer is made of, as it was read once: its entries in the order of the archive, whiteouts
 * included, each file by the digest of its content. With the files in a tier, it stands for the layer,
 * which then need not be downloaded again. Numbers are little-endian.
 *
 *   header    magic 8 | version u32 | 0 u32
 *   entries   one behind the other, as layer/entry-codec.ts has them, in blocks of record-blocks.ts
 *   trailer   entries f64 | compressed bytes f64 | plain bytes f64 | entries whose path has `.wh.` f64 |
 *             SHA-256 of the compressed bytes | diff ID (SHA-256 of the plain bytes) |
 *             SHA-256 of everything before
 *
 * A reader refuses every version but its own. It is a cache: what cannot be read is removed.
 */
export const magic = Buffer.from('thinlayr', 'latin1');
export const recordVersion = 3;

export const headerSize = 16;
export const headerFields = { version: 8 } as const;

export const trailerSize = 4 * 8 + 3 * digestSize;
/** Offsets from the start of the trailer. */
export const trailerFields = {
  entries: 0,
  compressedBytes: 8,
  plainBytes: 16,
  whiteouts: 24,
  digest: 32,
  diffId: 32 + digestSize,
  checksum: 32 + 2 * digestSize,
} as const;
