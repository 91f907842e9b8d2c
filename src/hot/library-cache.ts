/** Bytes of one record of the cache's table. */
const recordBytes = 24;
const headerBytes = 48;
const magic = 'glibc-ld.so.cache1.1';
/** The cache of old: a table of 12 byte records, and the new one behind it. */
const oldMagic = 'ld.so-1.7.0';
const oldHeaderBytes = 16;
const oldRecordBytes = 12;
/** Libraries that are read of one cache. */
const recordsMax = 100_000;
/** Bytes of one name or path: more is no path (PATH_MAX). */
const textBytesMax = 4096;

/**
 * What `/etc/ld.so.cache` says: library name → paths, as ldconfig ordered them. Empty for bytes that
 * are no such cache.
 * @see https://sourceware.org/git/?p=glibc.git;a=blob;f=sysdeps/generic/dl-cache.h
 */
export function parseLibraryCache(bytes: Buffer): Map<string, string[]> {
  const found = new Map<string, string[]>();
  const start = findTable(bytes);
  if (start === undefined) return found;
  const count = Math.min(bytes.readUInt32LE(start + 20), recordsMax);
  for (let index = 0; index < count; index++) {
    const at = start + headerBytes + index * recordBytes;
    if (at + recordBytes > bytes.length) break;
    const name = textAt(bytes, start + bytes.readUInt32LE(at + 4));
    const path = textAt(bytes, start + bytes.readUInt32LE(at + 8));
    if (name === '' || !path.startsWith('/')) continue;
    const paths = found.get(name);
    if (paths) paths.push(path);
    else found.set(name, [path]);
  }
  return found;
}

function findTable(bytes: Buffer): number | undefined {
  const isTable = (at: number): boolean =>
    at + headerBytes <= bytes.length && bytes.toString('latin1', at, at + magic.length) === magic;
  if (isTable(0)) return 0;
  if (!bytes.subarray(0, oldMagic.length).equals(Buffer.from(oldMagic))) return undefined;
  if (bytes.length < oldHeaderBytes) return undefined;
  const end = oldHeaderBytes + bytes.readUInt32LE(12) * oldRecordBytes;
  const aligned = Math.ceil(end / 8) * 8;
  return isTable(aligned) ? aligned : undefined;
}

function textAt(bytes: Buffer, offset: number): string {
  if (offset >= bytes.length) return '';
  const text = bytes.subarray(offset, offset + textBytesMax);
  const end = text.indexOf(0);
  return text.toString('latin1', 0, end < 0 ? text.length : end);
}
