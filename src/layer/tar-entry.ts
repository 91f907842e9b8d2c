import type { ByteString } from '../byte-string.js';
import type { TarEntry } from '../image/layer-entry.js';
import type { Attributes, Device, Time } from '../image/tree.js';
import { limits } from '../limits.js';
import { malformedLayer } from './malformed-layer.js';
import type { PaxRecords } from './pax-records.js';
import { parsePaxTime } from './pax-time.js';
import { xattrsOf } from './pax-xattrs.js';
import type { TarHeader } from './tar-header.js';
import { parseDecimal } from './tar-number.js';
import { normalisePath } from './tar-path.js';

/** What the headers in front of an entry say about it. */
export interface Extensions {
  /** Of all `g` headers so far. */
  readonly global: PaxRecords;
  /** Of the last `x` header. */
  readonly own: PaxRecords;
  /** Of the last GNU `L` and `K` headers. */
  readonly longName: ByteString | undefined;
  readonly longTarget: ByteString | undefined;
}

export interface Described {
  readonly header: TarHeader;
  readonly extensions: Extensions;
}

/** A record's value; an empty one takes back what a global header or the entry's header says. */
function recordOf(extensions: Extensions, key: string): string | undefined {
  if (extensions.own.size === 0 && extensions.global.size === 0) return undefined;
  const value = extensions.own.get(key) ?? extensions.global.get(key);
  return value === '' ? undefined : value;
}

/** Bytes that are stored behind the entry's header: it decides where the next header is (L16). */
export function storedSize({ header, extensions }: Described): number {
  const size = recordOf(extensions, 'size');
  return size === undefined ? header.size : parseDecimal(size, 'PAX record size');
}

/**
 * @param size plain bytes if it is a file
 * @throws ThinError `corrupt` for ids, times, devices, names and targets that Linux cannot hold
 */
export function decodeEntry({ header, extensions }: Described, size: number): TarEntry {
  const name = recordOf(extensions, 'GNU.sparse.name') ?? pathOf(header, extensions);
  const path = normalisePath(name as ByteString);
  // Plain literals, no spreads: those take several times as long, and there are millions of these.
  const { mode, uid, gid, mtime, xattrs } = attributesOf(header, extensions);
  switch (header.type) {
    case '1': {
      const target = normalisePath(targetOf(header, extensions));
      return { path, type: 'hardlink', mode, uid, gid, mtime, xattrs, target };
    }
    case '2': {
      const target = symlinkTargetOf(header, extensions);
      // Linux knows no other mode for a symlink, and no way to set one.
      return { path, type: 'symlink', mode: 0o777, uid, gid, mtime, xattrs, target };
    }
    case '3':
    case '4': {
      const type = header.type === '3' ? 'character' : 'block';
      return { path, type, mode, uid, gid, mtime, xattrs, device: deviceOf(header, extensions) };
    }
    case '5':
    case 'D':
      return { path, type: 'directory', mode, uid, gid, mtime, xattrs };
    case '6':
      return { path, type: 'fifo', mode, uid, gid, mtime, xattrs };
    default:
      return { path, type: 'file', mode, uid, gid, mtime, xattrs, size };
  }
}

function pathOf(header: TarHeader, extensions: Extensions): ByteString {
  return oneOf(recordOf(extensions, 'path'), extensions.longName, 'name') ?? header.name;
}

function targetOf(header: TarHeader, extensions: Extensions): ByteString {
  return (
    oneOf(recordOf(extensions, 'linkpath'), extensions.longTarget, 'link target') ??
    header.linkTarget
  );
}

/** Where PAX and GNU disagree, so do the readers: Go takes GNU's word, GNU tar takes PAX's. */
function oneOf(pax: string | undefined, gnu: string | undefined, what: string) {
  if (pax !== undefined && gnu !== undefined && pax !== gnu) {
    throw malformedLayer(`an entry has one ${what} in its PAX and another in its GNU header`);
  }
  return (pax ?? gnu) as ByteString | undefined;
}

function symlinkTargetOf(header: TarHeader, extensions: Extensions): ByteString {
  const target = targetOf(header, extensions);
  if (target === '' || target.length > limits.linkTargetBytesMax) {
    throw malformedLayer(
      `a symlink's target has ${target.length} bytes (wanted 1 to ${limits.linkTargetBytesMax})`,
    );
  }
  return target;
}

function attributesOf(header: TarHeader, extensions: Extensions): Attributes {
  const xattrs = xattrsOf(extensions.global, extensions.own);
  const uid = idOf(recordOf(extensions, 'uid'), header.uid, 'user');
  const gid = idOf(recordOf(extensions, 'gid'), header.gid, 'group');
  const mtime = timeOf(recordOf(extensions, 'mtime'), header.mtime);
  return { mode: header.mode & 0o7777, uid, gid, mtime, xattrs };
}

function timeOf(record: string | undefined, seconds: number): Time {
  return record === undefined ? { seconds, nanoseconds: 0 } : parsePaxTime(record);
}

/** 2^32 - 1 is -1 to the kernel: "leave as it is" (CVE-2024-40635 came of ids out of range). */
const idMax = 2 ** 32 - 2;

function idOf(record: string | undefined, fallback: number, kind: string): number {
  const id = record === undefined ? fallback : parseDecimal(record, `PAX record ${kind} id`);
  if (id < 0 || id > idMax) {
    throw malformedLayer(`an entry has ${kind} id ${id} (wanted 0 to ${idMax})`);
  }
  return id;
}

/** As Linux packs them: 12 bits and 20. */
const majorMax = 2 ** 12 - 1;
const minorMax = 2 ** 20 - 1;

/** @see star(5): SCHILY.devmajor, which bsdtar writes where the header's octal digits do not do. */
function deviceOf(header: TarHeader, extensions: Extensions): Device {
  const major = recordOf(extensions, 'SCHILY.devmajor');
  const minor = recordOf(extensions, 'SCHILY.devminor');
  const device = {
    major: major === undefined ? header.device.major : parseDecimal(major, 'the major number'),
    minor: minor === undefined ? header.device.minor : parseDecimal(minor, 'the minor number'),
  };
  const fits = device.major >= 0 && device.major <= majorMax;
  if (!fits || device.minor < 0 || device.minor > minorMax) {
    throw malformedLayer(
      `a device is ${device.major}:${device.minor} (wanted at most ${majorMax}:${minorMax})`,
    );
  }
  return device;
}
