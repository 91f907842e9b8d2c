/**
 * Offsets and constants of the on-disk format: the tables of FORMAT.md, section by section. All
 * numbers are little-endian.
 * @see https://docs.kernel.org/filesystems/erofs.html
 */

/** Of the rules that this folder writes and reads; FORMAT.md says when it changes. */
export const metadataVersion = 1;

/** Bytes of a block, and its logarithm as the superblock has it. */
export const blockSize = 4096;
export const blockBits = 12;

/** A node number (nid) counts slots of this many bytes from the start of the image. */
export const slotSize = 32;

export const superblock = {
  /** Where it is in the image. */
  at: 1024,
  size: 128,
  magic: 0,
  checksum: 4,
  featureCompat: 8,
  blockBits: 12,
  extensionSlots: 13,
  rootNid: 14,
  inodeCount: 16,
  blockCount: 36,
  metaBlock: 40,
  xattrBlock: 44,
  uuid: 48,
  volumeName: 64,
  featureIncompat: 80,
  directoryBlockBits: 90,
} as const;

export const magicNumber = 0xe0f5e1e2;
export const uuidSize = 16;
export const volumeNameSize = 16;
/** The volume name is this and {@link metadataVersion} in decimal digits. */
export const volumeNamePrefix = 'thinfs-';

export const featureCompat = { checksum: 1, mtime: 2 } as const;
export const featureIncompat = { chunkedFile: 4 } as const;

/** The extended form of an inode, the only one used. */
export const inodeRecord = {
  size: 64,
  format: 0,
  xattrCount: 2,
  mode: 4,
  fileSize: 8,
  /** Block address, device number or chunk format, as the data layout and the type have it. */
  union: 16,
  serial: 20,
  uid: 24,
  gid: 28,
  seconds: 32,
  nanoseconds: 40,
  nlink: 44,
} as const;

/** Bit 0 of the format field. Bits 1 to 3 are the data layout, all others are zero. */
export const extendedInode = 1;
export const dataLayout = { flat: 0, inlineTail: 2, chunked: 4 } as const;

/** What i_u is where no block is named, and the one chunk index of a file without data: a hole. */
export const noBlock = 0xffffffff;
export const chunkIndexSize = 4;
/** Bytes of the largest chunk that the format can name (5 bits above {@link blockBits}): 8 TiB. */
export const fileSizeMax = 2 ** (blockBits + 31);

/** Largest inline tail: with any xattr size it can be put where it crosses no block boundary. */
export const inlineTailMax = blockSize - slotSize;

export const xattrHeader = { size: 12, sharedCount: 4 } as const;
export const xattrEntry = { headerSize: 4, nameLength: 0, prefix: 1, valueLength: 2 } as const;
/** Entries and the ids of shared entries are aligned to this, and counted in it. */
export const xattrUnit = 4;
/** Bytes of one inode's header, shared ids and entries: what its 16-bit count can say. */
export const xattrAreaMax = xattrHeader.size + 0xfffe * xattrUnit;
export const sharedXattrsMax = 255;

/** The start of an xattr's name, kept as a number. The two ACL names are whole names. */
export const xattrPrefixes: ReadonlyMap<number, string> = new Map([
  [1, 'user.'],
  [2, 'system.posix_acl_access'],
  [3, 'system.posix_acl_default'],
  [4, 'trusted.'],
  [6, 'security.'],
]);

export const directoryRecord = { size: 12, nid: 0, nameOffset: 8, type: 10 } as const;

export function alignUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

/** An inode's 16-bit count of its xattr area: 0 for none, else 1 and the units behind the header. */
export function xattrCount(areaBytes: number): number {
  return areaBytes === 0 ? 0 : 1 + (areaBytes - xattrHeader.size) / xattrUnit;
}

/** The inverse of {@link xattrCount}. */
export function xattrAreaSize(count: number): number {
  return count === 0 ? 0 : xattrHeader.size + (count - 1) * xattrUnit;
}
