import { closeSync, openSync, readSync } from 'node:fs';
import type { ByteString } from '../byte-string.js';
import { fromSystemError } from '../errors.js';
import type { LayerEntry } from '../image/layer-entry.js';
import { EntryDecoder, malformed } from './entry-codec.js';

/** Bytes of one read: the file is in the page cache, so the calls block nobody for long. */
const pieceBytes = 256 * 1024;

/**
 * The bytes of a file from `from` up to `to`, or to its end. A piece is valid until the next one is
 * asked for. Blocks. @throws ThinError `not-found`, `unavailable`
 */
export function* filePieces(
  path: string,
  from = 0,
  to: number = Number.POSITIVE_INFINITY,
): Generator<Buffer, void> {
  const file = opened(path);
  try {
    const piece = Buffer.allocUnsafeSlow(pieceBytes);
    for (let at = from; at < to; ) {
      const read = readSync(file, piece, 0, Math.min(pieceBytes, to - at), at);
      if (read === 0) return;
      yield piece.subarray(0, read);
      at += read;
    }
  } catch (error) {
    throw fromSystemError(`Cannot read ${path}`, error);
  } finally {
    closeSync(file);
  }
}

function opened(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (error) {
    throw fromSystemError(`Cannot read ${path}`, error);
  }
}

/** Entries that lie one behind the other in these pieces. @throws ThinError `corrupt` */
export function decodeEntries(pieces: Iterable<Buffer>): Generator<LayerEntry, void> {
  const decoder = new EntryDecoder();
  return eachEntry(pieces, (bytes, at, end) => decoder.decode(bytes, at, end));
}

/** Their paths. @throws ThinError `corrupt` */
export function decodePaths(pieces: Iterable<Buffer>): Generator<ByteString, void> {
  return eachEntry(pieces, EntryDecoder.pathOf);
}

/** @param decode is given where one entry is, valid until the next one */
function* eachEntry<T>(
  pieces: Iterable<Buffer>,
  decode: (bytes: Buffer, at: number, end: number) => T,
): Generator<T, void> {
  let rest: Buffer = Buffer.alloc(0);
  for (const piece of pieces) {
    let bytes = piece;
    let from = 0;
    if (rest.length > 0) {
      // The entry that began in the piece before is put together, and nothing else.
      from = restOfEntry(rest, piece);
      bytes = Buffer.concat([rest, piece.subarray(0, from)]);
      const length = EntryDecoder.lengthAt(bytes, 0);
      rest = bytes;
      if (length === undefined || length > bytes.length) continue;
      yield decode(bytes, 0, length);
    }
    let at = from;
    for (;;) {
      const length = EntryDecoder.lengthAt(piece, at);
      if (length === undefined || length > piece.length - at) break;
      yield decode(piece, at, at + length);
      at += length;
    }
    rest = Buffer.from(piece.subarray(at));
  }
  if (rest.length > 0) throw malformed();
}

/** Bytes of `piece` that belong to the entry that `rest` begins. */
function restOfEntry(rest: Buffer, piece: Buffer): number {
  const start = Buffer.concat([rest.subarray(0, 4), piece.subarray(0, 4)]);
  const length = EntryDecoder.lengthAt(start, 0) ?? Number.POSITIVE_INFINITY;
  return Math.min(length - rest.length, piece.length);
}
