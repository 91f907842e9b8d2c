import type { ByteString } from '../byte-string.js';
import { ThinError } from '../errors.js';
import type { Device, NodeType } from '../image/tree.js';
import type { DirectoryEntry, ErofsImage, TreeForm } from '../metadata/erofs-image.js';
import { slotSize } from '../metadata/erofs-layout.js';
import { formatBits } from '../metadata/erofs-node-type.js';
import type { FileContent, Namespace, NamespaceEntry, NodeAttributes } from './namespace.js';
import { rootNode } from './protocol.js';

/** Decoded listings kept, of the directories listed last: a large one is listed in many requests. */
const listingsMax = 8;

const dot = '.' as ByteString;
const dotDot = '..' as ByteString;

/** One image's whole tree. Node ids and inode numbers are those of its metadata; the root's is 1. */
export class TreeNamespace implements Namespace {
  readonly absentNames = 'stay absent';
  readonly #image: ErofsImage;
  readonly #form: TreeForm;
  readonly #listings = new Map<number, readonly NamespaceEntry[]>();

  constructor(image: ErofsImage, form: TreeForm) {
    this.#image = image;
    this.#form = form;
  }

  attributes(node: number): NodeAttributes {
    const nid = this.#nid(node);
    const inode = this.#image.inode(nid, this.#form);
    return {
      inode: nid,
      generation: 0,
      mode: formatBits(inode.type) | inode.mode,
      size: inode.size,
      nlink: inode.nlink,
      uid: inode.uid,
      gid: inode.gid,
      rdev: inode.device ? encodeDevice(inode.device) : 0,
      mtime: inode.mtime,
    };
  }

  lookup(directory: number, name: ByteString): number | undefined {
    const found = this.#image.lookup(this.#nid(directory), name);
    return found === undefined ? undefined : this.#node(found);
  }

  entries(directory: number): readonly NamespaceEntry[] {
    const known = this.#listings.get(directory);
    if (known) return known;
    const listing = this.#list(directory);
    this.#listings.set(directory, listing);
    const [oldest] = this.#listings.keys();
    if (this.#listings.size > listingsMax && oldest !== undefined) this.#listings.delete(oldest);
    return listing;
  }

  symlinkTarget(node: number): ByteString {
    return this.#image.readlink(this.#nid(node));
  }

  xattrs(node: number): ReadonlyMap<ByteString, Buffer> {
    return this.#image.xattrs(this.#nid(node), this.#form);
  }

  file(node: number): FileContent | undefined {
    const inode = this.#image.inode(this.#nid(node), this.#form);
    if (!inode.content || inode.size === 0) return undefined;
    return { content: inode.content, size: inode.size };
  }

  statistics(): { inodes: number; bytes: number } {
    return { inodes: this.#image.inodeCount, bytes: this.#image.size };
  }

  #list(directory: number): readonly NamespaceEntry[] {
    const nid = this.#nid(directory);
    const parent = this.#image.lookup(nid, dotDot) ?? nid;
    return [
      { name: dot, inode: nid, type: direntType('directory'), node: undefined },
      { name: dotDot, inode: parent, type: direntType('directory'), node: undefined },
      ...this.#image.readdir(nid, this.#form).map((entry) => this.#entry(entry)),
    ];
  }

  #entry({ name, nid, type }: DirectoryEntry): NamespaceEntry {
    return { name, inode: nid, type: direntType(type), node: this.#node(nid) };
  }

  #nid(node: number): number {
    if (node === rootNode) return this.#image.rootNid;
    if (node > rootNode && node * slotSize < this.#image.size) return node;
    throw new ThinError('not-found', `Cannot find node ${node}: the tree has none of that number`);
  }

  #node(nid: number): number {
    return nid === this.#image.rootNid ? rootNode : nid;
  }
}

function direntType(type: NodeType): number {
  return formatBits(type) >> 12;
}

/** As `new_encode_dev` of the kernel. */
function encodeDevice({ major, minor }: Device): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}
