import type { FileRef } from './file-origin.js';
import type { ChunkedFile } from './partial-file.js';

/** Bytes `offset` to `offset + length` of a file that will be read soon. */
export interface PrefetchRange extends FileRef {
  readonly offset: number;
  readonly length: number;
}

/** Where it ends, in the file. */
export function endOf({ offset, length, size }: PrefetchRange): number {
  return Math.min(offset + length, size);
}

/** The chunks that a range touches. */
export function indexesOf({ table }: ChunkedFile, range: PrefetchRange): number[] {
  const end = endOf(range);
  if (range.offset >= end) return [];
  const first = table.indexAt(range.offset);
  const last = table.indexAt(end - 1);
  return Array.from({ length: last - first + 1 }, (_, at) => first + at);
}
