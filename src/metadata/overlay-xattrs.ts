import type { ByteString } from '../byte-string.js';
import { type Digest, digestHex } from '../digest.js';
import type { ImageBytes } from './image-bytes.js';

/**
 * Names that overlayfs gives a meaning, and how names of the image's own content are kept apart
 * from them (FORMAT.md, "Escaping").
 * @see https://docs.kernel.org/filesystems/overlayfs.html#nesting-overlayfs-mounts
 */
const overlayPrefix = 'trusted.overlay.';
const escapedPrefix = 'trusted.overlay.overlay.';

/** On every file that has data: the data is elsewhere, in the data-only layers. */
export const metacopyXattr = 'trusted.overlay.metacopy' as ByteString;
/** Where, in those layers. */
export const redirectXattr = 'trusted.overlay.redirect' as ByteString;
/**
 * Ours: the names, without {@link escapedPrefix} and joined by commas, of the xattrs that stand for
 * character devices 0:0 here. On a regular file it says that the file is such a device.
 */
export const addedXattr = 'trusted.overlay.thinfs.added' as ByteString;

export function isOverlayXattr(name: string): boolean {
  return name.startsWith(overlayPrefix);
}

export function isEscapedXattr(name: string): boolean {
  return name.startsWith(escapedPrefix);
}

/** The stored name of an xattr of the image's own content. */
export function escapeXattr(name: ByteString): ByteString {
  if (!isOverlayXattr(name)) return name;
  return (escapedPrefix + name.slice(overlayPrefix.length)) as ByteString;
}

/** The inverse, of a name for which {@link isEscapedXattr} is true. */
export function unescapeXattr(stored: ByteString): ByteString {
  return (overlayPrefix + stored.slice(escapedPrefix.length)) as ByteString;
}

/** Bytes of {@link redirectTo}: `/xx/` and 64 hexadecimal digits. */
export const redirectSize = 68;

/** The path of a file's content in the data-only layers: `/xx/<digest>`. */
export function redirectTo(content: Digest): ByteString {
  const hex = digestHex(content);
  return `/${hex.slice(0, 2)}/${hex}` as ByteString;
}

/** The digest in such a path of `length` bytes at `at`, undefined if it is anything else. */
export function readRedirect(bytes: ImageBytes, at: number, length: number): Digest | undefined {
  if (length !== redirectSize || !bytes.isHex(at + 4, 64)) return undefined;
  const hex = bytes.latin1(at + 4, 64);
  if (bytes.compare(at, 4, `/${hex.slice(0, 2)}/`) !== 0) return undefined;
  return `sha256:${hex}` as Digest;
}

export interface StandIn {
  /** What overlayfs looks for, without a prefix. */
  readonly name: 'whiteout' | 'whiteouts' | 'opaque';
  readonly value: string;
}

/** What makes an empty regular file a character device 0:0 to an overlayfs nested in a container. */
export const whiteoutFileStandIns: readonly StandIn[] = [{ name: 'whiteout', value: '' }];
/** What makes that overlayfs look for such files in their directory. */
export const whiteoutDirectoryStandIns: readonly StandIn[] = [
  { name: 'opaque', value: 'x' },
  { name: 'whiteouts', value: '' },
];

export function standInXattr(name: string): ByteString {
  return (escapedPrefix + name) as ByteString;
}
