import type { ByteString } from '../byte-string.js';
import { type Digest, digestOf } from '../digest.js';
import { ThinError } from '../errors.js';
import type { Device, NodeType, Time } from '../image/tree.js';
import { limits } from '../limits.js';
import { inodeRecord } from './erofs-layout.js';
import { corrupt, ImageBytes } from './image-bytes.js';
import { addedXattr, readRedirect, redirectXattr } from './overlay-xattrs.js';
import { type DirectoryEntry, listDirectory, searchDirectory } from './read-directory.js';
import {
  blockAt,
  blockLength,
  checkChunkIndex,
  decodeDevice,
  type InodeHead,
  readHead,
  readTime,
} from './read-inode.js';
import { readSuperblock, type Superblock } from './read-superblock.js';
import {
  findXattr,
  imageXattrs,
  overlayLowerXattrs,
  readStoredXattrs,
  type XattrPlace,
} from './read-xattrs.js';
import { splitXattrName, type XattrName } from './xattr-name.js';

export type { DirectoryEntry } from './read-directory.js';

/**
 * How `trusted.overlay.*` xattrs and character devices 0:0 are shown. `image`: as the image's
 * author made them. `overlay-lower`: escaped, for a tree that is a lower layer of overlayfs, which
 * itself un-escapes the names for those above it; the devices are empty files there.
 */
export type TreeForm = 'image' | 'overlay-lower';

export interface Inode {
  readonly nid: number;
  readonly type: NodeType;
  /** Permission bits with setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtime: Time;
  /** Bytes: of a file its data, of a symlink its target, of a directory its records. */
  readonly size: number;
  readonly nlink: number;
  /** Of devices. */
  readonly device?: Device;
  /** Of files. */
  readonly content?: Digest;
}

const emptyContent = digestOf(new Uint8Array());
const redirectName = splitXattrName(redirectXattr);
const addedName = splitXattrName(addedXattr);
const whiteoutDevice: Device = { major: 0, minor: 0 };

/**
 * A metadata image, read where it lies: nothing is decoded before it is asked for, and nothing is
 * kept. The bytes may be hostile; every method throws ThinError `corrupt` where they are wrong, and
 * `invalid` where it is called for an inode of another type. Several threads may read one
 * SharedArrayBuffer.
 */
export class ErofsImage {
  readonly rootNid: number;
  /** As the image claims: for information, not to allocate by. */
  readonly inodeCount: number;
  readonly #bytes: ImageBytes;
  readonly #sharedXattrsAt: number;

  private constructor(bytes: ImageBytes, superblock: Superblock) {
    this.#bytes = bytes;
    this.#sharedXattrsAt = superblock.sharedXattrsAt;
    this.rootNid = superblock.rootNid;
    this.inodeCount = superblock.inodeCount;
  }

  /** @throws ThinError `corrupt` if this is no image or a damaged one; `invalid` for a newer version. */
  static parse(bytes: Buffer): ErofsImage {
    const checked = new ImageBytes(bytes);
    const image = new ErofsImage(checked, readSuperblock(checked));
    image.#head(image.rootNid, 'directory');
    return image;
  }

  /** Bytes of the whole image. */
  get size(): number {
    return this.#bytes.size;
  }

  inode(nid: number, form: TreeForm = 'image'): Inode {
    const bytes = this.#bytes;
    const head = readHead(bytes, nid);
    const whiteout = form === 'image' && this.#isWhiteout(head);
    const type = whiteout ? 'character' : head.type;
    const inode: { -readonly [Field in keyof Inode]: Inode[Field] } = {
      nid,
      type,
      mode: head.mode,
      uid: bytes.u32(head.at + inodeRecord.uid),
      gid: bytes.u32(head.at + inodeRecord.gid),
      mtime: readTime(bytes, head.at),
      size: head.size,
      nlink: bytes.u32(head.at + inodeRecord.nlink),
    };
    if (type === 'file') inode.content = this.#contentOf(head);
    if (type === 'character' || type === 'block') {
      inode.device = whiteout ? whiteoutDevice : decodeDevice(head.union);
    }
    return inode;
  }

  /** Entries without `.` and `..`, in byte order of their names: their indexes are stable. */
  readdir(nid: number, form: TreeForm = 'image'): DirectoryEntry[] {
    const head = this.#head(nid, 'directory');
    const entries = listDirectory(this.#bytes, head);
    if (form === 'overlay-lower' || this.#find(head, addedName) === undefined) return entries;
    return entries.map((entry) => {
      if (entry.type !== 'file' || !this.#isWhiteout(readHead(this.#bytes, entry.nid))) {
        return entry;
      }
      return { ...entry, type: 'character' };
    });
  }

  /** The inode that `name` (also `.` or `..`) has in a directory, undefined if there is none. */
  lookup(nid: number, name: ByteString): number | undefined {
    return searchDirectory(this.#bytes, this.#head(nid, 'directory'), name);
  }

  readlink(nid: number): ByteString {
    const head = this.#head(nid, 'symlink');
    if (head.size === 0 || head.size > limits.linkTargetBytesMax) {
      throw corrupt(`symlink ${nid} has a target of ${head.size} bytes`);
    }
    const target = this.#bytes.latin1(blockAt(this.#bytes, head, 0), blockLength(head, 0));
    if (target.includes('\0')) throw corrupt(`symlink ${nid} has a target with NUL`);
    return target as ByteString;
  }

  /** By full name. The values are views of the image's bytes, not copies. */
  xattrs(nid: number, form: TreeForm = 'image'): Map<ByteString, Buffer> {
    const head = readHead(this.#bytes, nid);
    const stored = readStoredXattrs(this.#bytes, head, this.#sharedXattrsAt);
    return form === 'image' ? imageXattrs(stored) : overlayLowerXattrs(stored);
  }

  #head(nid: number, type: 'directory' | 'symlink'): InodeHead {
    const head = readHead(this.#bytes, nid);
    if (head.type !== type) {
      throw new ThinError('invalid', `Cannot read inode ${nid} as ${type}: it is a ${head.type}`);
    }
    // A listing is never larger than the image, whatever size is claimed.
    if (type === 'directory') this.#bytes.check(0, head.size);
    return head;
  }

  #isWhiteout(head: InodeHead): boolean {
    return head.type === 'file' && head.size === 0 && this.#find(head, addedName) !== undefined;
  }

  #contentOf(head: InodeHead): Digest {
    if (head.size === 0) return emptyContent;
    checkChunkIndex(this.#bytes, head);
    const at = this.#find(head, redirectName);
    const content = at && readRedirect(this.#bytes, at.valueAt, at.valueLength);
    if (content === undefined) throw corrupt(`file ${head.nid} does not say what its content is`);
    return content;
  }

  #find(head: InodeHead, name: XattrName | undefined): XattrPlace | undefined {
    if (head.xattrBytes === 0 || name === undefined) return undefined;
    return findXattr(this.#bytes, head, this.#sharedXattrsAt, name);
  }
}
