import type { ByteString } from '../byte-string.js';
import type { TarEntry } from '../image/layer-entry.js';
import type { Attributes, Device, Time } from '../image/tree.js';
import { limits } from '../limits.js';
import { malformedLayer } from './malformed-layer.js';
import type { PaxRecords } from './pax-records.js';
import { parsePaxTime } from './pax-time.js';
import { noXattrs, xattrsOf } from './pax-xattrs.js';
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
  const attributes = attributesOf(header, extensions);
  switch (header.type) {
    case '1':
      return {
        ...attributes,
        path,
        type: 'hardlink',
        target: normalisePath(targetOf(header, extensions)),
      };
    case '2':
      return symlink(path, attributes, targetOf(header, extensions));
    case '3':
      return { ...attributes, path, type: 'character', device: deviceOf(header, extensions) };
    case '4':
      return { ...attributes, path, type: 'block', device: deviceOf(header, extensions) };
    case '5':
    case 'D':
      return { ...attributes, path, type: 'directory' };
    case '6':
      return { ...attributes, path, type: 'fifo' };
    default:
      return { ...attributes, path, type: 'file', size };
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

function symlink(path: ByteString, attributes: Attributes, target: ByteString): TarEntry {
  if (target === '' || target.length > limits.linkTargetBytesMax) {
    throw malformedLayer(
      `a symlink's target has ${target.length} bytes (wanted 1 to ${limits.linkTargetBytesMax})`,
    );
  }
  // Linux knows no other mode for a symlink, and no way to set one.
  return { ...attributes, path, type: 'symlink', mode: 0o777, target };
}

function attributesOf(header: TarHeader, extensions: Extensions): Attributes {
  const { own, global } = extensions;
  if (own.size === 0 && global.size === 0) {
    checkId(header.uid, 'user');
    checkId(header.gid, 'group');
    const mtime = { seconds: header.mtime, nanoseconds: 0 };
    return {
      mode: header.mode & 0o7777,
      uid: header.uid,
      gid: header.gid,
      mtime,
      xattrs: noXattrs,
    };
  }
  return {
    mode: header.mode & 0o7777,
    uid: idOf(recordOf(extensions, 'uid'), header.uid, 'user'),
    gid: idOf(recordOf(extensions, 'gid'), header.gid, 'group'),
    mtime: timeOf(recordOf(extensions, 'mtime'), header.mtime),
    xattrs: xattrsOf(global, own),
  };
}

function timeOf(record: string | undefined, seconds: number): Time {
  return record === undefined ? { seconds, nanoseconds: 0 } : parsePaxTime(record);
}

/** 2^32 - 1 is -1 to the kernel: "leave as it is" (CVE-2024-40635 came of ids out of range). */
const idMax = 2 ** 32 - 2;

function idOf(record: string | undefined, fallback: number, kind: string): number {
  const id = record === undefined ? fallback : parseDecimal(record, `PAX record ${kind} id`);
  checkId(id, kind);
  return id;
}

function checkId(id: number, kind: string): void {
  if (id < 0 || id > idMax) {
    throw malformedLayer(`an entry has ${kind} id ${id} (wanted 0 to ${idMax})`);
  }
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
