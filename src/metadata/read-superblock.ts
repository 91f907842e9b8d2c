import { ThinError } from '../errors.js';
import { crc32c } from './crc32c.js';
import {
  blockBits,
  blockSize,
  featureCompat,
  featureIncompat,
  magicNumber,
  metadataVersion,
  superblock,
  volumeNamePrefix,
  volumeNameSize,
} from './erofs-layout.js';
import { corrupt, type ImageBytes } from './image-bytes.js';

export interface Superblock {
  readonly rootNid: number;
  readonly inodeCount: number;
  /** Where the shared xattrs are, in bytes. */
  readonly sharedXattrsAt: number;
}

/** @throws ThinError `corrupt` if this is no image or a damaged one; `invalid` for a newer version */
export function readSuperblock(bytes: ImageBytes): Superblock {
  if (bytes.size < blockSize) throw corrupt(`it has ${bytes.size} bytes (wanted ${blockSize})`);
  const at = superblock.at;
  expect('magic number', bytes.u32(at + superblock.magic), magicNumber);
  checkVersion(bytes);
  expect('checksum', bytes.u32(at + superblock.checksum), checksumOf(bytes));
  expect('size', bytes.size, bytes.u32(at + superblock.blockCount) * blockSize);
  expect('block bits', bytes.u8(at + superblock.blockBits), blockBits);
  expect('number of extension slots', bytes.u8(at + superblock.extensionSlots), 0);
  expect('metadata block', bytes.u32(at + superblock.metaBlock), 0);
  expect('directory block bits', bytes.u8(at + superblock.directoryBlockBits), 0);
  return {
    rootNid: bytes.u16(at + superblock.rootNid),
    inodeCount: bytes.u64(at + superblock.inodeCount),
    sharedXattrsAt: bytes.u32(at + superblock.xattrBlock) * blockSize,
  };
}

/** Newer rules change the version, or set a bit of which older readers know that they do not know. */
function checkVersion(bytes: ImageBytes): void {
  const label = bytes.latin1(superblock.at + superblock.volumeName, volumeNameSize);
  const name = label.replace(/\0+$/, '');
  const digits = name.startsWith(volumeNamePrefix) ? name.slice(volumeNamePrefix.length) : '';
  if (!/^[1-9][0-9]{0,8}$/.test(digits)) {
    const shown = JSON.stringify(name);
    throw corrupt(`its volume name is ${shown} (wanted ${volumeNamePrefix} and a version)`);
  }
  if (Number(digits) > metadataVersion) {
    throw newer(`its version is ${digits} (wanted at most ${metadataVersion})`);
  }
  const features = bytes.u32(superblock.at + superblock.featureIncompat);
  if ((features & ~featureIncompat.chunkedFile) === 0) return;
  const known = hex(featureIncompat.chunkedFile);
  throw newer(`it needs features ${hex(features)} (wanted at most ${known})`);
}

/** Not `corrupt`: there is nothing wrong with the bytes, and fetching them again would not help. */
function newer(what: string): ThinError {
  return new ThinError('invalid', `Cannot read metadata image: ${what}; a newer thinfs reads it`);
}

function checksumOf(bytes: ImageBytes): number {
  const features = bytes.u32(superblock.at + superblock.featureCompat);
  if ((features & featureCompat.checksum) === 0) throw corrupt('it has no checksum');
  const summed = Buffer.from(bytes.slice(superblock.at, blockSize - superblock.at));
  summed.writeUInt32LE(0, superblock.checksum);
  return crc32c(summed);
}

function expect(field: string, found: number, wanted: number): void {
  if (found !== wanted) throw corrupt(`its ${field} is ${found} (wanted ${wanted})`);
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
