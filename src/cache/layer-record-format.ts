import { digestSize } from '../digest.js';
import type { LayerEntry } from '../image/layer-entry.js';

/*
 * What a layer is made of, as it was read once: its entries in the order of the archive, whiteouts
 * included, each file by the digest of its content. With the files in a tier, it stands for the layer,
 * which then need not be downloaded again. Numbers are little-endian.
 *
 *   header    magic 8 | version u32 | 0 u32
 *   entries   one behind the other
 *   trailer   entries f64 | compressed bytes f64 | plain bytes f64 | SHA-256 of the compressed bytes |
 *             diff ID (SHA-256 of the plain bytes) | SHA-256 of everything before
 *
 *   entry     type u8 | flags u8 | mode u16 | uid u32 | gid u32 | seconds f64 | nanoseconds u32 |
 *             path length u16 | path
 *     file         size f64 | digest of the content as text
 *     symlink, hardlink     target length u16 | target
 *     device       major u32 | minor u32
 *     with flag 1  xattrs: count u32 | (name length u16 | name | value length u32 | value)…
 *
 * A reader refuses what is newer than it knows. It is a cache: what cannot be read is removed.
 */
export const magic = Buffer.from('thinlayr', 'latin1');
export const recordVersion = 1;

export const headerSize = 16;
export const headerFields = { version: 8 } as const;

export const trailerSize = 3 * 8 + 3 * digestSize;
/** Offsets from the start of the trailer. */
export const trailerFields = {
  entries: 0,
  compressedBytes: 8,
  plainBytes: 16,
  digest: 24,
  diffId: 24 + digestSize,
  checksum: 24 + 2 * digestSize,
} as const;

/** Bytes of an entry up to its path. */
export const entryHeadSize = 26;
/** Offsets from the start of an entry. */
export const entryFields = {
  type: 0,
  flags: 1,
  mode: 2,
  uid: 4,
  gid: 8,
  seconds: 12,
  nanoseconds: 20,
  pathLength: 24,
} as const;

export const hasXattrs = 1;

/**
 * Characters of a digest. Text, as one string is made of it and not two that are put together when it is
 * used: there are many.
 */
export const contentSize = 'sha256:'.length + 2 * digestSize;

export const entryTypes = [
  'file',
  'directory',
  'symlink',
  'hardlink',
  'character',
  'block',
  'fifo',
] as const satisfies readonly LayerEntry['type'][];
