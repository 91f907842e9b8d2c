import { createHash } from 'node:crypto';
import type { ByteString } from '../byte-string.js';
import { type Digest, digestFromBytes, digestSize, isDigest } from '../digest.js';
import { ThinError } from '../errors.js';
import type { LayerEntry } from '../image/layer-entry.js';
import type { Attributes } from '../image/tree.js';
import type { LayerSummary } from '../layer/read-layer.js';
import {
  contentSize,
  entryFields,
  entryHeadSize,
  entryTypes,
  hasXattrs,
  headerFields,
  headerSize,
  magic,
  recordVersion,
  trailerFields,
  trailerSize,
} from './layer-record-format.js';

const noXattrs: Attributes['xattrs'] = new Map();

/** A layer's record in memory, verified: see layer-record-format.ts. Entries are decoded one by one. */
export class LayerRecordFile {
  readonly summary: LayerSummary;
  readonly #bytes: Buffer;
  readonly #count: number;

  /** @throws ThinError `corrupt` if the bytes are no record, damaged, or of a newer version */
  constructor(bytes: Buffer) {
    checkWhole(bytes);
    const trailer = bytes.subarray(bytes.length - trailerSize);
    const field = trailerFields;
    this.#bytes = bytes.subarray(0, bytes.length - trailerSize);
    this.#count = trailer.readDoubleLE(field.entries);
    this.summary = {
      digest: digestFromBytes(trailer, field.digest),
      diffId: digestFromBytes(trailer, field.diffId),
      compressedBytes: trailer.readDoubleLE(field.compressedBytes),
      plainBytes: trailer.readDoubleLE(field.plainBytes),
    };
  }

  /** May be gone through any number of times. @throws ThinError `corrupt` */
  get entries(): Iterable<LayerEntry> {
    return { [Symbol.iterator]: () => this.#decode() };
  }

  *#decode(): Generator<LayerEntry, void> {
    const reader = new EntryReader(this.#bytes, headerSize);
    for (let left = this.#count; left > 0; left--) yield reader.next();
    if (!reader.atEnd) throw damaged('more than its entries is in it');
  }
}

function checkWhole(bytes: Buffer): void {
  if (bytes.length < headerSize + trailerSize || !bytes.subarray(0, magic.length).equals(magic)) {
    throw damaged('it does not begin as one');
  }
  const version = bytes.readUInt32LE(headerFields.version);
  if (version !== recordVersion) throw damaged(`version ${version} (wanted ${recordVersion})`);
  const end = bytes.length - digestSize;
  const sum = createHash('sha256').update(bytes.subarray(0, end)).digest();
  if (!sum.equals(bytes.subarray(end))) throw damaged('its checksum is wrong');
}

function damaged(what: string): ThinError {
  return new ThinError('corrupt', `Cannot read layer record: ${what}`);
}

class EntryReader {
  readonly #bytes: Buffer;
  #at: number;

  constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes;
    this.#at = at;
  }

  get atEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  next(): LayerEntry {
    const bytes = this.#bytes;
    const at = this.#take(entryHeadSize);
    const field = entryFields;
    const type = entryTypes[bytes.readUInt8(at + field.type)];
    const path = this.#text(bytes.readUInt16LE(at + field.pathLength));
    const mode = bytes.readUInt16LE(at + field.mode);
    const uid = bytes.readUInt32LE(at + field.uid);
    const gid = bytes.readUInt32LE(at + field.gid);
    const seconds = bytes.readDoubleLE(at + field.seconds);
    const nanoseconds = bytes.readUInt32LE(at + field.nanoseconds);
    const mtime = { seconds, nanoseconds };
    const flags = bytes.readUInt8(at + field.flags);
    // Plain literals, no spreads, as in tar-entry.ts: there are millions of these.
    switch (type) {
      case 'file': {
        const size = bytes.readDoubleLE(this.#take(8));
        const content: string = this.#text(contentSize);
        if (!isDigest(content)) throw damaged('an entry has no digest');
        const xattrs = this.#xattrs(flags);
        return { path, type, mode, uid, gid, mtime, xattrs, size, content };
      }
      case 'symlink':
      case 'hardlink': {
        const target = this.#text(bytes.readUInt16LE(this.#take(2)));
        return { path, type, mode, uid, gid, mtime, xattrs: this.#xattrs(flags), target };
      }
      case 'character':
      case 'block': {
        const body = this.#take(8);
        const device = { major: bytes.readUInt32LE(body), minor: bytes.readUInt32LE(body + 4) };
        return { path, type, mode, uid, gid, mtime, xattrs: this.#xattrs(flags), device };
      }
      case 'directory':
      case 'fifo':
        return { path, type, mode, uid, gid, mtime, xattrs: this.#xattrs(flags) };
      default:
        throw damaged('an entry has an unknown type');
    }
  }

  #xattrs(flags: number): Attributes['xattrs'] {
    if ((flags & hasXattrs) === 0) return noXattrs;
    const xattrs = new Map<ByteString, Buffer>();
    const count = this.#bytes.readUInt32LE(this.#take(4));
    for (let left = count; left > 0; left--) {
      const name = this.#text(this.#bytes.readUInt16LE(this.#take(2)));
      const length = this.#bytes.readUInt32LE(this.#take(4));
      const at = this.#take(length);
      // A copy: the record's own memory goes when the tree is built.
      xattrs.set(name, Buffer.from(this.#bytes.subarray(at, at + length)));
    }
    return xattrs;
  }

  #text(length: number): ByteString {
    const at = this.#take(length);
    return this.#bytes.toString('latin1', at, at + length) as ByteString;
  }

  /** Where the next `length` bytes are. */
  #take(length: number): number {
    const at = this.#at;
    this.#at += length;
    if (this.#at > this.#bytes.length) throw damaged('it ends inside an entry');
    return at;
  }
}

/** A file of a record: what has to be in a tier for the record to stand for its layer. */
export interface RecordedFile {
  readonly content: Digest;
  readonly size: number;
}

/** The files of a record that have bytes, as often as the layer names them. */
export function* filesOf(record: LayerRecordFile): Generator<RecordedFile, void> {
  for (const entry of record.entries) {
    if (entry.type === 'file' && entry.size > 0) yield entry;
  }
}
