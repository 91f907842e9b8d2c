import { digestSize } from '../digest.js';
import { ThinError } from '../errors.js';
import { limits } from '../limits.js';
import { redirectEntryHead } from '../metadata/file-xattrs.js';
import { ImageBytes } from '../metadata/image-bytes.js';
import { readRedirect, redirectSize } from '../metadata/overlay-xattrs.js';
import type { ChunkMap } from './chunk-map.js';

/*
 * Metadata without the digests of its files, which the chunk map has too (FORMAT.md, "Bare metadata"):
 * nothing compresses them, so they are two thirds of what it has on the line.
 */

/** Bytes of the number that says which digest it is. */
const numberSize = 4;
/** Where they begin in `/xx/<digest>`. */
const [folderAt, digestAt] = [1, 4];
const slash = '/'.charCodeAt(0);
const hexDigits = Buffer.from('0123456789abcdef');
/** Bytes that are searched at a time: Node 20 finds nothing that is 2 GiB from where it begins. */
const windowBytes = 2 ** 30;

/** @returns undefined where nothing can be left out, what is there looks as if it had been, or it is too large */
export function toBareMetadata(metadata: Buffer, map: ChunkMap): Buffer | undefined {
  let places = 0;
  for (const at of redirectsIn(metadata)) {
    if (metadata[at] === 0) return undefined;
    places += 1;
  }
  const size = metadata.length + places * numberSize;
  if (size > limits.metadataBytesMax) return undefined;
  const bare = Buffer.allocUnsafeSlow(size);
  metadata.copy(bare);
  const bytes = new ImageBytes(metadata);
  let [row, expected] = [metadata.length, 0];
  for (const at of redirectsIn(metadata)) {
    const content = readRedirect(bytes, at, redirectSize);
    const number = content && map.numberOf(content);
    if (number === undefined) continue;
    bare.fill(0, at, at + redirectSize);
    row = bare.writeUInt32LE((number - expected) >>> 0, row);
    expected = number + 1;
  }
  return row > metadata.length ? bare.subarray(0, row) : undefined;
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
  const { chunks, files } = map.contentDigests();
  let [row, number] = [size, 0];
  for (const at of redirectsIn(metadata)) {
    if (metadata[at] !== 0) continue; // it was not left out
    if (row === bare.length) throw corrupt('it has fewer contents than files');
    number = (number + bare.readUInt32LE(row)) >>> 0;
    const isChunk = number < map.chunkCount;
    const digests = isChunk ? chunks : files;
    const from = digestSize * (isChunk ? number : number - map.chunkCount);
    if (from >= digests.length) throw corrupt(`the chunk map has no content ${number}`);
    metadata[at] = slash;
    writeHex(digests, from, 1, metadata, at + folderAt);
    metadata[at + digestAt - 1] = slash;
    writeHex(digests, from, digestSize, metadata, at + digestAt);
    row += numberSize;
    number += 1;
  }
  if (row === bare.length) return metadata;
  throw corrupt('it has more contents than files');
}

/** Without strings: there are as many as files. */
function writeHex(from: Buffer, start: number, length: number, to: Buffer, at: number): void {
  for (let index = 0; index < length; index++) {
    const byte = from[start + index] ?? 0;
    to[at + 2 * index] = hexDigits[byte >>> 4] ?? 0;
    to[at + 2 * index + 1] = hexDigits[byte & 15] ?? 0;
  }
}

/** Where the paths of contents begin, and all that looks like one. */
function* redirectsIn(metadata: Buffer): Generator<number> {
  const head = redirectEntryHead;
  let at = 0;
  for (let start = 0; start < metadata.length; start += windowBytes) {
    const window = metadata.subarray(start, start + windowBytes + head.length - 1);
    const next = () => window.indexOf(head, Math.max(0, at - start));
    for (let found = next(); found >= 0; found = next()) {
      at = start + found + head.length;
      if (at + redirectSize > metadata.length) return;
      yield at;
      at += redirectSize;
    }
  }
}

function corrupt(what: string): ThinError {
  return new ThinError('corrupt', `Cannot read bare metadata: ${what}`);
}
