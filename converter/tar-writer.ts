import { type ByteString, byteStringToBuffer } from '../src/byte-string.js';
import type { TarEntry } from '../src/image/layer-entry.js';

const blockSize = 512;
/** Bytes of a name in the ustar header itself; longer ones go to a PAX record. */
const nameBytesMax = 100;
/** Largest numbers of the octal fields of 8 and 12 characters. */
const idMax = 0o7777777;
const sizeMax = 0o77777777777;

const typeFlags: Readonly<Record<TarEntry['type'], string>> = {
  file: '0',
  hardlink: '1',
  symlink: '2',
  character: '3',
  block: '4',
  directory: '5',
  fifo: '6',
};

/** Ends an archive. */
export const archiveEnd = Buffer.alloc(2 * blockSize);

/** Zero bytes that a file of `size` bytes is followed by. */
export function paddingOf(size: number): Buffer {
  return Buffer.alloc((blockSize - (size % blockSize)) % blockSize);
}

/**
 * Header blocks of one entry: ustar, with a PAX header in front for what does not fit into that. The
 * same entry gives the same bytes. Names are written as the bytes that they are.
 * @see POSIX.1-2017, pax, "pax Interchange Format"
 */
export function tarHeader(entry: TarEntry): Buffer {
  const records = paxRecords(entry);
  const own = headerBlock(entry, typeFlags[entry.type], sizeOf(entry));
  if (records.length === 0) return own;
  const pax = headerBlock({ ...entry, path: 'pax' as ByteString }, 'x', records.length);
  return Buffer.concat([pax, records, paddingOf(records.length), own]);
}

function sizeOf(entry: TarEntry): number {
  return entry.type === 'file' ? entry.size : 0;
}

function targetOf(entry: TarEntry): ByteString {
  return entry.type === 'symlink' || entry.type === 'hardlink' ? entry.target : ('' as ByteString);
}

function nameOf(entry: TarEntry): ByteString {
  if (entry.path === '') return './' as ByteString;
  return entry.type === 'directory' ? (`${entry.path}/` as ByteString) : entry.path;
}

function paxRecords(entry: TarEntry): Buffer {
  const records: Buffer[] = [];
  const add = (key: string, value: string | Buffer) => records.push(paxRecord(key, value));
  const { seconds, nanoseconds } = entry.mtime;
  if (nanoseconds !== 0 || seconds < 0 || seconds > sizeMax) {
    add('mtime', decimalTime(seconds, nanoseconds));
  }
  if (nameOf(entry).length > nameBytesMax) add('path', byteStringToBuffer(nameOf(entry)));
  if (targetOf(entry).length > nameBytesMax) add('linkpath', byteStringToBuffer(targetOf(entry)));
  if (entry.uid > idMax) add('uid', String(entry.uid));
  if (entry.gid > idMax) add('gid', String(entry.gid));
  if (sizeOf(entry) > sizeMax) add('size', String(sizeOf(entry)));
  for (const [name, value] of [...entry.xattrs].sort(([a], [b]) => (a < b ? -1 : 1))) {
    add(`SCHILY.xattr.${name}`, value);
  }
  return Buffer.concat(records);
}

/** A time before 1970 is written as its distance from there. */
function decimalTime(seconds: number, nanoseconds: number): string {
  const negative = seconds < 0 && nanoseconds > 0;
  const whole = negative ? seconds + 1 : seconds;
  const part = negative ? 1_000_000_000 - nanoseconds : nanoseconds;
  const sign = seconds < 0 ? '-' : '';
  return `${sign}${Math.abs(whole)}.${String(part).padStart(9, '0')}`;
}

/** `<length> <key>=<value>\n`, whose length counts its own digits. */
function paxRecord(key: string, value: string | Buffer): Buffer {
  const tail = Buffer.concat([Buffer.from(` ${key}=`, 'latin1'), Buffer.from(value), newline]);
  let length = tail.length + 1;
  while (String(length).length + tail.length !== length) {
    length = String(length).length + tail.length;
  }
  return Buffer.concat([Buffer.from(String(length)), tail]);
}

const newline = Buffer.from('\n');

function headerBlock(entry: TarEntry, typeFlag: string, size: number): Buffer {
  const block = Buffer.alloc(blockSize);
  block.write(nameOf(entry).slice(0, nameBytesMax), 0, 'latin1');
  octal(block, 100, 8, entry.mode);
  octal(block, 108, 8, entry.uid > idMax ? 0 : entry.uid);
  octal(block, 116, 8, entry.gid > idMax ? 0 : entry.gid);
  octal(block, 124, 12, size > sizeMax ? 0 : size);
  octal(block, 136, 12, Math.min(Math.max(entry.mtime.seconds, 0), sizeMax));
  block.write('        ', 148, 'latin1');
  block.write(typeFlag, 156, 'latin1');
  block.write(targetOf(entry).slice(0, nameBytesMax), 157, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  if (entry.type === 'character' || entry.type === 'block') {
    octal(block, 329, 8, entry.device.major);
    octal(block, 337, 8, entry.device.minor);
  }
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

function octal(block: Buffer, at: number, width: number, value: number): void {
  block.write(`${value.toString(8).padStart(width - 1, '0')}\0`, at, 'latin1');
}
