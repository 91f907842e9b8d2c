import type { ByteString } from '../byte-string.js';
import {
  alignUp,
  inodeRecord,
  xattrEntry,
  xattrHeader,
  xattrPrefixes,
  xattrUnit,
} from './erofs-layout.js';
import { corrupt, type ImageBytes } from './image-bytes.js';
import {
  addedXattr,
  isEscapedXattr,
  isOverlayXattr,
  standInXattr,
  unescapeXattr,
} from './overlay-xattrs.js';
import type { InodeHead } from './read-inode.js';
import type { XattrName } from './xattr-name.js';

/** Where an xattr is: its entry, and behind that its name and its value. */
export interface XattrPlace {
  readonly prefix: number;
  readonly nameAt: number;
  readonly nameLength: number;
  readonly valueAt: number;
  readonly valueLength: number;
}

function readPlace(bytes: ImageBytes, at: number): XattrPlace {
  const nameLength = bytes.u8(at + xattrEntry.nameLength);
  const prefix = bytes.u8(at + xattrEntry.prefix);
  const valueLength = bytes.u16(at + xattrEntry.valueLength);
  const nameAt = at + xattrEntry.headerSize;
  bytes.check(nameAt, nameLength + valueLength);
  return { prefix, nameAt, nameLength, valueAt: nameAt + nameLength, valueLength };
}

/**
 * Shows `visit` the xattrs of an inode as they are stored, its own before the shared ones, until it
 * returns true. (A generator would be half the cost of a look-up.)
 */
function visitXattrs(
  bytes: ImageBytes,
  head: InodeHead,
  sharedXattrsAt: number,
  visit: (place: XattrPlace) => boolean,
): void {
  if (head.xattrBytes === 0) return;
  const area = head.at + inodeRecord.size;
  const areaEnd = area + head.xattrBytes;
  bytes.check(area, head.xattrBytes);
  const idsAt = area + xattrHeader.size;
  const entriesAt = idsAt + bytes.u8(area + xattrHeader.sharedCount) * xattrUnit;
  if (entriesAt > areaEnd) throw corrupt(`the shared xattrs of inode ${head.nid} do not fit`);

  for (let at = entriesAt; at < areaEnd; ) {
    const place = readPlace(bytes, at);
    at = alignUp(place.valueAt + place.valueLength, xattrUnit);
    if (at > areaEnd) throw corrupt(`the xattrs of inode ${head.nid} do not fit`);
    if (visit(place)) return;
  }
  for (let at = idsAt; at < entriesAt; at += xattrUnit) {
    if (visit(readPlace(bytes, sharedXattrsAt + bytes.u32(at) * xattrUnit))) return;
  }
}

/** Where the xattr that is stored as `wanted` is, undefined if the inode has none. */
export function findXattr(
  bytes: ImageBytes,
  head: InodeHead,
  sharedXattrsAt: number,
  wanted: XattrName,
): XattrPlace | undefined {
  let found: XattrPlace | undefined;
  visitXattrs(bytes, head, sharedXattrsAt, (place) => {
    if (place.prefix !== wanted.prefix || place.nameLength !== wanted.name.length) return false;
    if (bytes.compare(place.nameAt, place.nameLength, wanted.name) !== 0) return false;
    found = place;
    return true;
  });
  return found;
}

/** All xattrs as they are stored. Values are views of the image. */
export function readStoredXattrs(
  bytes: ImageBytes,
  head: InodeHead,
  sharedXattrsAt: number,
): Map<ByteString, Buffer> {
  const xattrs = new Map<ByteString, Buffer>();
  visitXattrs(bytes, head, sharedXattrsAt, (place) => {
    const start = xattrPrefixes.get(place.prefix);
    if (start === undefined) throw corrupt(`inode ${head.nid} has an xattr of unknown namespace`);
    const name = (start + bytes.latin1(place.nameAt, place.nameLength)) as ByteString;
    if (xattrs.has(name)) throw corrupt(`inode ${head.nid} has the xattr ${name} twice`);
    xattrs.set(name, bytes.slice(place.valueAt, place.valueLength));
    return false;
  });
  return xattrs;
}

/** What the image's author gave the inode: unescaped, without what stands for something else. */
export function imageXattrs(stored: ReadonlyMap<ByteString, Buffer>): Map<ByteString, Buffer> {
  const added = stored.get(addedXattr)?.toString('latin1').split(',').filter(Boolean) ?? [];
  const hidden = new Set(added.map(standInXattr));
  const xattrs = new Map<ByteString, Buffer>();
  for (const [name, value] of stored) {
    if (!isOverlayXattr(name)) xattrs.set(name, value);
    else if (isEscapedXattr(name) && !hidden.has(name)) xattrs.set(unescapeXattr(name), value);
  }
  return xattrs;
}

/** What a nested overlayfs is to see through the one above: escaped names, not our own. */
export function overlayLowerXattrs(
  stored: ReadonlyMap<ByteString, Buffer>,
): Map<ByteString, Buffer> {
  return new Map([...stored].filter(([name]) => !isOverlayXattr(name) || isEscapedXattr(name)));
}
