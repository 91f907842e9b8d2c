import type { ByteString } from '../byte-string.js';
import { type Digest, isDigest } from '../digest.js';
import { ThinError } from '../errors.js';
import type { LayerEntry } from '../image/layer-entry.js';
import type { Attributes, Device, Time } from '../image/tree.js';

/**
 * Entries of a layer as bytes, for what is kept of layers: thinify's spool and conversion index, and a
 * node's records of layers. A change of it is a new version of those two. Little-endian:
 *
 *     length u32 | type u8 | mode u16 | uid u32 | gid u32 | seconds f64 | nanoseconds u32
 *     | path | count u32, that many times name and value | by type:
 *     file: size f64, digest as text · symlink, hard link: target · device: major u32, minor u32
 *
 * A text (path, name, target, digest) or value is its length as u32 and its bytes; `length` counts what follows it.
 */
const types = [
  'directory',
  'fifo',
  'file',
  'symlink',
  'hardlink',
  'character',
  'block',
] as const satisfies readonly LayerEntry['type'][];

const lengthSize = 4;
const headSize = lengthSize + 1 + 2 + 4 + 4 + 8 + 4;

/** Bytes that {@link encodeEntry} writes. */
export function entrySize(entry: LayerEntry): number {
  let size = headSize + 4 + entry.path.length + 4 + bodySize(entry);
  for (const [name, value] of entry.xattrs) size += 4 + name.length + 4 + value.length;
  return size;
}

function bodySize(entry: LayerEntry): number {
  switch (entry.type) {
    case 'file':
      return 8 + 4 + entry.content.length;
    case 'symlink':
    case 'hardlink':
      return 4 + entry.target.length;
    case 'character':
    case 'block':
      return 8;
    default:
      return 0;
  }
}

/** Writes an entry at `at`. @returns where the next one goes */
export function encodeEntry(entry: LayerEntry, out: Buffer, at: number): number {
  let next = out.writeUInt8(types.indexOf(entry.type), at + lengthSize);
  next = out.writeUInt16LE(entry.mode, next);
  next = out.writeUInt32LE(entry.uid, next);
  next = out.writeUInt32LE(entry.gid, next);
  next = out.writeDoubleLE(entry.mtime.seconds, next);
  next = out.writeUInt32LE(entry.mtime.nanoseconds, next);
  next = writeText(out, entry.path, next);
  next = out.writeUInt32LE(entry.xattrs.size, next);
  for (const [name, value] of entry.xattrs) {
    next = writeText(out, name, next);
    next = out.writeUInt32LE(value.length, next);
    next += value.copy(out, next);
  }
  next = writeBody(entry, out, next);
  out.writeUInt32LE(next - at - lengthSize, at);
  return next;
}

function writeBody(entry: LayerEntry, out: Buffer, at: number): number {
  switch (entry.type) {
    case 'file': {
      // As text: what is read back is one string, not two that are put together when it is used.
      return writeText(out, entry.content, out.writeDoubleLE(entry.size, at));
    }
    case 'symlink':
    case 'hardlink':
      return writeText(out, entry.target, at);
    case 'character':
    case 'block':
      return out.writeUInt32LE(entry.device.minor, out.writeUInt32LE(entry.device.major, at));
    default:
      return at;
  }
}

function writeText(out: Buffer, text: ByteString | Digest, at: number): number {
  const next = out.writeUInt32LE(text.length, at);
  return next + out.write(text, next, 'latin1');
}

/** Most entries have none: one for all of them. */
const noXattrs: Attributes['xattrs'] = new Map();

/**
 * Reads entries one after the other; what they have in common is one object. No views are made of the
 * bytes: those of 90 000 entries are 100 MB of garbage.
 */
export class EntryDecoder {
  #bytes: Buffer = Buffer.alloc(0);
  #at: number = 0;
  #end: number = 0;
  #time: Time = { seconds: 0, nanoseconds: 0 };

  /** Bytes of the whole entry at `at`; undefined if its length is not there yet. */
  static lengthAt(bytes: Buffer, at: number): number | undefined {
    return bytes.length - at < lengthSize ? undefined : lengthSize + bytes.readUInt32LE(at);
  }

  /** The path alone of the entry from `at` up to `end`. @throws ThinError `corrupt` */
  static pathOf(bytes: Buffer, at: number, end: number): ByteString {
    const pathAt = at + headSize + 4;
    const pathEnd = end < pathAt ? 0 : pathAt + bytes.readUInt32LE(at + headSize);
    if (pathEnd === 0 || pathEnd > end) throw malformed();
    return textOf(bytes, pathAt, pathEnd);
  }

  /** The entry from `at` up to `end`. @throws ThinError `corrupt` */
  decode(bytes: Buffer, at: number, end: number): LayerEntry {
    this.#bytes = bytes;
    this.#at = at + lengthSize;
    this.#end = end;
    try {
      const entry = this.#entry();
      if (this.#at === end) return entry;
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
    }
    throw malformed();
  }

  #entry(): LayerEntry {
    const type = types[this.#bytes.readUInt8(this.#advance(1))];
    if (type === undefined) throw malformed();
    const mode = this.#bytes.readUInt16LE(this.#advance(2));
    const [uid, gid] = [this.#number(), this.#number()];
    const mtime = this.#mtime();
    const path = this.#text();
    const xattrs = this.#xattrs();
    switch (type) {
      case 'directory':
      case 'fifo':
        return { path, type, mode, uid, gid, mtime, xattrs };
      case 'file': {
        const size = this.#double();
        return { path, type, mode, uid, gid, mtime, xattrs, size, content: this.#digest() };
      }
      case 'symlink':
      case 'hardlink':
        return { path, type, mode, uid, gid, mtime, xattrs, target: this.#text() };
      case 'character':
      case 'block':
        return { path, type, mode, uid, gid, mtime, xattrs, device: this.#device() };
    }
  }

  #mtime(): Time {
    const seconds = this.#double();
    const nanoseconds = this.#number();
    if (this.#time.seconds !== seconds || this.#time.nanoseconds !== nanoseconds) {
      this.#time = { seconds, nanoseconds };
    }
    return this.#time;
  }

  #xattrs(): Attributes['xattrs'] {
    const count = this.#number();
    if (count === 0) return noXattrs;
    const xattrs = new Map<ByteString, Buffer>();
    for (let i = 0; i < count; i++) {
      const name = this.#text();
      const length = this.#number();
      const at = this.#advance(length);
      xattrs.set(name, Buffer.from(this.#bytes.subarray(at, at + length)));
    }
    return xattrs;
  }

  #device(): Device {
    return { major: this.#number(), minor: this.#number() };
  }

  #digest(): Digest {
    const text: string = this.#text();
    if (isDigest(text)) return text;
    throw malformed();
  }

  #text(): ByteString {
    const length = this.#number();
    const at = this.#advance(length);
    return textOf(this.#bytes, at, at + length);
  }

  #number(): number {
    return this.#bytes.readUInt32LE(this.#advance(4));
  }

  #double(): number {
    return this.#bytes.readDoubleLE(this.#advance(8));
  }

  /** @returns the position before; @throws RangeError beyond the end */
  #advance(length: number): number {
    const at = this.#at;
    if (length > this.#end - at) throw new RangeError('beyond the end of the entry');
    this.#at += length;
    return at;
  }
}

function textOf(bytes: Buffer, at: number, end: number): ByteString {
  return bytes.toString('latin1', at, end) as ByteString;
}

export function malformed(): ThinError {
  return new ThinError(
    'corrupt',
    'Cannot use entries of a layer: malformed (what is kept of it is safe to delete)',
  );
}
