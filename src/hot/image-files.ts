import { type ByteString, byteStringFromText } from '../byte-string.js';
import type { Digest } from '../digest.js';
import { isThinError } from '../errors.js';
import type { ErofsImage } from '../metadata/erofs-image.js';
import { resolvePath } from '../metadata/resolve-path.js';

/** A regular file of an image that has bytes. */
export interface ImageFile {
  readonly content: Digest;
  /** Bytes. */
  readonly size: number;
  readonly executable: boolean;
  /** When it was changed last: seconds since 1970. */
  readonly seconds: number;
}

/** Reads bytes of an image's file, fetching what is not here. */
export type ReadContent = (file: ImageFile, offset: number, length: number) => Promise<Buffer>;

/**
 * Paths and names of folders that are looked at, and bytes that are read, for one guess: the main thread
 * does that, and an image may be made to take long. Python with 2000 modules takes a tenth of the one and
 * half of the other.
 */
const looksMax = 2_000_000;
const readBytesMax = 96 * 1024 * 1024;
/** Paths whose answer is kept, about 150 bytes each. */
const nodesMax = 65_536;

/**
 * Looks into an image as a program in it would. For whom has looked for too long, there is nothing any
 * more.
 */
export class ImageFiles {
  readonly #tree: ErofsImage;
  readonly #read: ReadContent;
  /** Folders that were listed, by node: modules are looked for in the same ones. */
  readonly #names = new Map<number, ReadonlySet<ByteString>>();
  readonly #nodes = new Map<string, number | undefined>();
  #looksLeft = looksMax;
  #bytesLeft = readBytesMax;

  constructor(tree: ErofsImage, read: ReadContent) {
    this.#tree = tree;
    this.#read = read;
  }

  /** The file at an absolute path, symlinks followed; undefined if there is none, or an empty one. */
  file(path: string): ImageFile | undefined {
    const nid = this.#find(path);
    if (nid === undefined) return undefined;
    const { type, content, size, mode, mtime } = this.#tree.inode(nid);
    if (type !== 'file' || content === undefined || size === 0) return undefined;
    return { content, size, executable: (mode & 0o111) !== 0, seconds: Number(mtime.seconds) };
  }

  /** Names in a directory; none if there is no such directory. */
  names(path: string): readonly ByteString[] {
    const names = this.#namesIn(path);
    this.#looksLeft -= names.size;
    return [...names];
  }

  /** Whether a directory has an entry of this name; false if there is no such directory. */
  has(path: string, name: string): boolean {
    return this.#namesIn(path).has(byteStringFromText(name));
  }

  read(file: ImageFile, offset: number, length: number): Promise<Buffer> {
    const end = Math.min(file.size, offset + length);
    if (offset >= end) return Promise.resolve(Buffer.alloc(0)); // and nothing is given back for it
    this.#bytesLeft -= end - offset;
    if (this.#bytesLeft < 0) return Promise.resolve(Buffer.alloc(0));
    return this.#read(file, offset, end - offset);
  }

  #namesIn(path: string): ReadonlySet<ByteString> {
    const nid = this.#find(path);
    if (nid === undefined) return none;
    const known = this.#names.get(nid);
    if (known) return known;
    const names = new Set(this.#list(nid));
    this.#looksLeft -= names.size;
    this.#names.set(nid, names);
    return names;
  }

  #list(nid: number): ByteString[] {
    if (this.#tree.inode(nid).type !== 'directory') return [];
    const entries = this.#tree.readdir(nid).map(({ name }) => name);
    return entries.filter((name) => name !== '.' && name !== '..');
  }

  #find(path: string): number | undefined {
    this.#looksLeft -= 1;
    if (this.#looksLeft < 0) return undefined;
    if (this.#nodes.has(path)) return this.#nodes.get(path);
    const found = this.#resolve(path);
    if (this.#nodes.size < nodesMax) this.#nodes.set(path, found);
    return found;
  }

  #resolve(path: string): number | undefined {
    try {
      return resolvePath(this.#tree, byteStringFromText(path), { followLast: true });
    } catch (error) {
      if (isThinError(error, 'not-found', 'invalid')) return undefined;
      throw error;
    }
  }
}

const none: ReadonlySet<ByteString> = new Set();
