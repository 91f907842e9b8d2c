import type { ByteString } from '../byte-string.js';
import { limits } from '../limits.js';
import { malformedLayer } from './malformed-layer.js';
import type { PaxRecords } from './pax-records.js';

/**
 * Extended attributes out of PAX records. The rule (L15, L27):
 *
 * - `SCHILY.xattr.<name>` (star, GNU tar, Go and so every container tool): the raw bytes, of any
 *   namespace, so `security.capability`, `security.selinux`, `system.posix_acl_access` and
 *   `trusted.overlay.*` as well. An empty value is an attribute with an empty value.
 * - `LIBARCHIVE.xattr.<name>` (bsdtar): name percent-encoded, value base64; where both say something
 *   about a name, the raw form wins.
 * - Everything else that describes rights is dropped, as containerd, docker and umoci drop it: ACLs
 *   as text (`SCHILY.acl.*`), file flags (`SCHILY.fflags`), GNU tar's `RHT.security.selinux`.
 *
 * Names are taken as they stand: GNU tar's `%3D` for `=` inside a name is not undone, because
 * nothing else writes or reads it.
 */
const rawPrefix = 'SCHILY.xattr.';
const base64Prefix = 'LIBARCHIVE.xattr.';
/** XATTR_NAME_MAX of Linux, bytes. */
const xattrNameBytesMax = 255;

export type Xattrs = ReadonlyMap<ByteString, Buffer>;

const noXattrs: Xattrs = new Map();

/** @throws ThinError `corrupt` for values that are no base64 and for more than Linux can hold. */
export function xattrsOf(global: PaxRecords, own: PaxRecords): Xattrs {
  if (global.size === 0 && own.size === 0) return noXattrs;
  const xattrs = new Map<ByteString, Buffer>();
  for (const records of [global, own]) addBase64(xattrs, records);
  for (const records of [global, own]) addRaw(xattrs, records);
  if (xattrs.size === 0) return noXattrs;
  checkLimits(xattrs);
  return xattrs;
}

function addRaw(xattrs: Map<ByteString, Buffer>, records: PaxRecords): void {
  for (const [key, value] of records) {
    if (!key.startsWith(rawPrefix)) continue;
    xattrs.set(key.slice(rawPrefix.length) as ByteString, Buffer.from(value, 'latin1'));
  }
}

function addBase64(xattrs: Map<ByteString, Buffer>, records: PaxRecords): void {
  for (const [key, value] of records) {
    if (!key.startsWith(base64Prefix)) continue;
    const name = key
      .slice(base64Prefix.length)
      .replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
    xattrs.set(name as ByteString, decodeBase64(name, value));
  }
}

function decodeBase64(name: string, text: string): Buffer {
  const bare = text.replace(/={0,2}$/, '');
  if (!/^[A-Za-z0-9+/]*$/.test(bare) || bare.length % 4 === 1) {
    throw malformedLayer(`the value of xattr ${JSON.stringify(name)} is no base64`);
  }
  return Buffer.from(bare, 'base64');
}

function checkLimits(xattrs: Xattrs): void {
  let listBytes = 0;
  for (const [name, value] of xattrs) {
    listBytes += name.length + 1;
    if (name === '' || name.length > xattrNameBytesMax || name.includes('\0')) {
      throw malformedLayer(
        `an xattr name has ${name.length} bytes or a NUL (wanted 1 to ${xattrNameBytesMax})`,
      );
    }
    if (value.length > limits.xattrValueBytesMax) {
      throw malformedLayer(
        `xattr ${JSON.stringify(name)} has ${value.length} bytes (wanted at most ${limits.xattrValueBytesMax})`,
      );
    }
  }
  if (listBytes > limits.xattrListBytesMax) {
    throw malformedLayer(
      `the xattr names of one entry take ${listBytes} bytes (wanted at most ${limits.xattrListBytesMax})`,
    );
  }
}
