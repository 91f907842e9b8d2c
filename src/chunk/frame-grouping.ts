import type { ByteString } from '../byte-string.js';
import { frameBytesMax } from './codec.js';
import { uncutBytesMax } from './cutter.js';

/** Plain bytes from which on a frame of small files does not go on into another directory. */
const fullEnoughBytes = 128 * 1024;

/** The file of a chunk that is to be placed. */
export interface GroupedFile {
  readonly path: ByteString;
  readonly size: number;
}

/** A frame that is not full yet: the plain bytes in it, and the file whose chunk came last. */
export interface FrameFill {
  readonly length: number;
  readonly lastFile: GroupedFile;
}

/** Small files share frames with each other, a larger one shares its frames with none. */
export function isSmall(file: GroupedFile): boolean {
  return file.size <= uncutBytesMax;
}

/**
 * Whether a chunk of `length` bytes of `file` goes into the frame behind what is there. Small files
 * of one directory go together, and directories follow each other in a frame until it is half full: a
 * reader that wants one file of a directory wants others, and many tiny frames compress badly.
 */
export function joinsFrame(fill: FrameFill, file: GroupedFile, length: number): boolean {
  if (fill.length + length > frameBytesMax) return false;
  if (!isSmall(file)) return fill.lastFile === file;
  return fill.length < fullEnoughBytes || directoryOf(fill.lastFile) === directoryOf(file);
}

function directoryOf(file: GroupedFile): string {
  return file.path.slice(0, file.path.lastIndexOf('/') + 1);
}
