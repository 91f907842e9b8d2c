import { type ByteString, emptyByteString } from '../byte-string.js';
import type { DirectoryEntry, ErofsImage } from './erofs-image.js';
import { directoryRecord, xattrUnit } from './erofs-layout.js';
import { corrupt } from './image-bytes.js';

/**
 * Reads all of an image without doing more work than its bytes are worth. In an image that our
 * writer made, no two inodes share bytes of their directories or xattr areas; in a hostile one, a
 * small image could say the same thousand entries of ten thousand directories.
 */
export class TreeReader {
  readonly #image: ErofsImage;
  readonly #listed = new Set<number>();
  readonly #read = new Set<number>();
  #entriesLeft: number;
  #xattrsLeft: number;

  constructor(image: ErofsImage) {
    this.#image = image;
    this.#entriesLeft = image.size / directoryRecord.size;
    this.#xattrsLeft = image.size / xattrUnit;
  }

  /** @throws ThinError `corrupt` if it was listed before: it has two names, or is inside itself. */
  list(nid: number): DirectoryEntry[] {
    if (this.#listed.has(nid)) throw corrupt(`directory ${nid} has two names`);
    this.#listed.add(nid);
    const { type } = this.#image.inode(nid);
    if (type !== 'directory') throw corrupt(`inode ${nid} is a ${type}, its record says directory`);
    const entries = this.#image.readdir(nid);
    this.#entriesLeft -= entries.length;
    if (this.#entriesLeft < 0) throw corrupt('its directories share bytes');
    return entries;
  }

  xattrs(nid: number): Map<ByteString, Buffer> {
    const xattrs = this.#image.xattrs(nid);
    if (xattrs.size === 0 || this.#read.has(nid)) return xattrs;
    this.#read.add(nid);
    this.#xattrsLeft -= xattrs.size;
    if (this.#xattrsLeft < 0) throw corrupt('its inodes share bytes of their xattrs');
    return xattrs;
  }
}

export interface TreePath extends DirectoryEntry {
  /** From the root, without a `/` at its start; empty for the root itself. */
  readonly path: ByteString;
  /** The directory that it is in; of the root, the root. */
  readonly parentNid: number;
}

/**
 * All names of a tree, each directory before what is in it, in byte order of the names.
 * @throws ThinError `corrupt`
 */
export function* walkImage(image: ErofsImage, reader: TreeReader): Generator<TreePath> {
  const root = { nid: image.rootNid, name: emptyByteString, type: 'directory' as const };
  /** Still to be shown, the next one last. */
  const pending: TreePath[] = [{ ...root, path: emptyByteString, parentNid: image.rootNid }];
  for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
    yield at;
    if (at.type !== 'directory') continue;
    const { nid: parentNid, path } = at;
    for (const entry of reader.list(parentNid).reverse()) {
      pending.push({ ...entry, path: joinPath(path, entry.name), parentNid });
    }
  }
}

export function joinPath(directory: ByteString, name: ByteString): ByteString {
  return directory === '' ? name : (`${directory}/${name}` as ByteString);
}
