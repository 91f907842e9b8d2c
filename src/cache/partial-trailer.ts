import { digestBytes, digestFromBytes, digestSize } from '../digest.js';
import { Bitmap } from './bitmap.js';
import type { FileRef } from './file-origin.js';

/*
 * A partial file on disk:
 *
 *   0 .. size          the file's bytes where they are present, holes elsewhere
 *   bitmapAt(size)     one bit for each chunk of its chunk list: present
 *   end - 64           footer: magic (8) version (4) chunks (4) size (8) content (32) flags (4) 0 (4)
 *
 * The bitmap is a hint: each chunk is verified before its first use by a process, so a torn or lying
 * bitmap costs a fetch and never a wrong byte. That is why it needs neither checksum nor fsync.
 */
const magic = 'THINPART';
const version = 1;
export const footerSize = 64;
const footer = { magic: 0, version: 8, chunks: 12, size: 16, content: 24, flags: 56 } as const;
/** All chunks were verified, and yet the whole is not `content`: the chunk list lies. */
const flagMismatched = 1;
/** The bitmap begins on a page of its own, so that writing it never touches data. */
const pageSize = 4096;

export interface PartialTrailer {
  readonly file: FileRef;
  readonly present: Bitmap;
  readonly mismatched: boolean;
}

/** Offset of the trailer, which is also the length to which a finished file is cut. */
export function bitmapAt(size: number): number {
  return Math.ceil(size / pageSize) * pageSize;
}

/** Bytes of the bitmap and the footer. */
export function trailerSize(chunkCount: number): number {
  return Math.ceil(chunkCount / 8) + footerSize;
}

export function encodeTrailer({ file, present, mismatched }: PartialTrailer): Buffer {
  const bytes = Buffer.alloc(trailerSize(present.length));
  present.bytes.copy(bytes);
  const end = bytes.subarray(present.bytes.length);
  end.write(magic, footer.magic, 'latin1');
  end.writeUInt32LE(version, footer.version);
  end.writeUInt32LE(present.length, footer.chunks);
  end.writeBigUInt64LE(BigInt(file.size), footer.size);
  digestBytes(file.content).copy(end, footer.content);
  end.writeUInt32LE(mismatched ? flagMismatched : 0, footer.flags);
  return bytes;
}

/** Which file it is part of, from the footer alone; undefined where that is no footer of ours. */
export function parseFooter(bytes: Buffer): (FileRef & { chunkCount: number }) | undefined {
  if (bytes.length !== footerSize) return undefined;
  if (bytes.toString('latin1', footer.magic, footer.version) !== magic) return undefined;
  if (bytes.readUInt32LE(footer.version) !== version) return undefined;
  const size = Number(bytes.readBigUInt64LE(footer.size));
  if (!Number.isSafeInteger(size)) return undefined;
  return {
    content: digestFromBytes(bytes.subarray(footer.content, footer.content + digestSize)),
    size,
    chunkCount: bytes.readUInt32LE(footer.chunks),
  };
}

/** The trailer of `file` with `chunkCount` chunks; undefined where `bytes` are not that. */
export function parseTrailer(
  bytes: Buffer,
  file: FileRef,
  chunkCount: number,
): PartialTrailer | undefined {
  if (bytes.length !== trailerSize(chunkCount)) return undefined;
  const end = bytes.subarray(bytes.length - footerSize);
  const found = parseFooter(end);
  if (found === undefined || found.content !== file.content) return undefined;
  if (found.size !== file.size || found.chunkCount !== chunkCount) return undefined;
  const mismatched = (end.readUInt32LE(footer.flags) & flagMismatched) !== 0;
  return { file, present: new Bitmap(chunkCount, bytes), mismatched };
}
