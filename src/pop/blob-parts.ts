import type { Blob } from '../store/store.js';
import { type FetchName, fetchName } from './pop-keys.js';

/** Bytes of one part of a blob. */
const partBytes = 512 * 1024;

/** What blobs go from node to node as: without a digest of their own. */
export interface BlobPart {
  readonly name: FetchName;
  /** Where it is among the bytes that were asked for. */
  readonly start: number;
  readonly end: number;
}

/** The parts of `length` bytes from `offset` on, which is where a part begins. */
export function blobParts({ digest, size }: Blob, offset: number, length: number): BlobPart[] {
  return Array.from({ length: Math.ceil(length / partBytes) }, (_, at) => {
    const start = at * partBytes;
    const name = fetchName('part', `${digest} ${size} ${offset + start}`);
    return { name, start, end: Math.min(start + partBytes, length) };
  });
}
