import { isDigest } from '../digest.js';
import { ThinError } from '../errors.js';
import { redirectEntryHead } from '../metadata/file-xattrs.js';
import { redirectSize, redirectTo } from '../metadata/overlay-xattrs.js';
import type { ChunkMap } from './chunk-map.js';

/*
 * Metadata without the digests of its files, which the chunk map has too (FORMAT.md, "Bare metadata"):
 * nothing compresses them, so they are two thirds of what it has on the line.
 */

/** Bytes of the number that says which digest it is. */
const numberSize = 4;
const digestTextSize = 64;
/** Where they begin in `/xx/<digest>`. */
const [folderAt, digestAt] = [1, 4];
const slash = '/'.charCodeAt(0);

/** @returns undefined where nothing can be left out, or what is there looks as if it had been */
export function toBareMetadata(metadata: Buffer, map: ChunkMap): Buffer | undefined {
  let places = 0;
  for (const at of redirectsIn(metadata)) {
    if (metadata[at] === 0) return undefined;
    places += 1;
  }
  const bare = Buffer.allocUnsafeSlow(metadata.length + places * numberSize);
  metadata.copy(bare);
  let [row, expected] = [metadata.length, 0];
  for (const at of redirectsIn(metadata)) {
    const number = contentAt(metadata, at, map);
    if (number === undefined) continue;
    bare.fill(0, at, at + redirectSize);
    row = bare.writeUInt32LE((number - expected) >>> 0, row);
    expected = number + 1;
  }
  return row > metadata.length ? bare.subarray(0, row) : undefined;
}

function contentAt(metadata: Buffer, at: number, map: ChunkMap): number | undefined {
  const path = metadata.toString('latin1', at, at + redirectSize);
  const content = `sha256:${path.slice(digestAt)}`;
  return isDigest(content) && path === redirectTo(content) ? map.numberOf(content) : undefined;
}

/**
 * The metadata, not verified yet.
 * @param bare is changed: its beginning becomes the metadata
 * @param size bytes of the metadata
 * @throws ThinError `corrupt`
 */
export function fromBareMetadata(bare: Buffer, size: number, map: ChunkMap): Buffer {
  const more = bare.length - size;
  if (more < 0 || more % numberSize !== 0) throw corrupt(`it has ${more} bytes of numbers`);
  const metadata = bare.subarray(0, size);
  const digests = map.digestTexts();
  let [row, number] = [size, 0];
  for (const at of redirectsIn(metadata)) {
    if (metadata[at] !== 0) continue; // it was not left out
    if (row === bare.length) throw corrupt('it has fewer contents than files');
    number = (number + bare.readUInt32LE(row)) >>> 0;
    const from = number * digestTextSize;
    if (from >= digests.length) throw corrupt(`the chunk map has no content ${number}`);
    metadata[at] = slash;
    copyShort(digests, from, metadata, at + folderAt, 2);
    metadata[at + digestAt - 1] = slash;
    copyShort(digests, from, metadata, at + digestAt, digestTextSize);
    row += numberSize;
    number += 1;
  }
  if (row === bare.length) return metadata;
  throw corrupt('it has more contents than files');
}

/** For a few bytes, of which there are many: a call of Buffer's takes longer than they do. */
function copyShort(from: Buffer, start: number, to: Buffer, at: number, length: number): void {
  for (let byte = 0; byte < length; byte++) to[at + byte] = from[start + byte] ?? 0;
}

/** Where the paths of contents begin, and all that looks like one. */
function* redirectsIn(metadata: Buffer): Generator<number> {
  const head = redirectEntryHead;
  for (let at = metadata.indexOf(head); at >= 0; at = metadata.indexOf(head, at)) {
    at += head.length;
    if (at + redirectSize > metadata.length) return;
    yield at;
    at += redirectSize;
  }
}

function corrupt(what: string): ThinError {
  return new ThinError('corrupt', `Cannot read bare metadata: ${what}`);
}
