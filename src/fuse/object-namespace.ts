import type { ByteString } from '../byte-string.js';
import { ThinError } from '../errors.js';
import { FileList, type SharedFileList } from './file-list.js';
import type { FileContent, Namespace, NamespaceEntry, NodeAttributes } from './namespace.js';
import { rootNode } from './protocol.js';

/*
 *   /                      root: names can be looked up and are not listed, as the kernel would keep
 *                          the listing for ever, and images come and go
 *   /<name of a list>/     an image's files; a data layer of overlays
 *     xx/                  00 to ff
 *       <64 hex digits>    a file, by its content
 *
 * Node ids, all of 53 bits: 1, image number (26), place in the image (26). Place 0 is the image's
 * directory, 1 to 256 are `00` to `ff`, files follow from 1024 in the order of the list. The image
 * number is the first 26 bits of the list's name and the generation is the next 32 that are in no
 * number, so that the same ids mean the same files in every process that ever serves the mount, and
 * the kernel notices should another image have the same number.
 */
const firstImageNode = 2 ** 52;
const placeBits = 26;
const places = 2 ** placeBits;
const directoryCount = 256;
const firstDirectory = 1;
const firstFile = 1024;

const directoryMode = 0o040_555;
const fileMode = 0o100_444;
/** Their `d_type`. */
const directoryType = 4;
const fileType = 8;

const dot = '.' as ByteString;
const dotDot = '..' as ByteString;
const directoryNames = /^[0-9a-f]{2}$/;
const longNames = /^[0-9a-f]{64}$/;

/** The number of an image in node ids. @param name of its list */
export function imageNumber(name: string): number {
  return Number.parseInt(name.slice(0, 8), 16) >>> (32 - placeBits);
}

interface Place {
  /** Absent for the root. */
  readonly list: FileList | undefined;
  /** Of the root 0, as of an image. */
  readonly place: number;
}

/** The files of images, by content, each image in a directory of its own. */
export class ObjectNamespace implements Namespace {
  readonly absentNames = 'may come';
  readonly #lists = new Map<number, FileList>();

  add(list: SharedFileList): void {
    this.#lists.set(imageNumber(list.name), new FileList(list));
  }

  remove(name: string): void {
    const number = imageNumber(name);
    if (this.#lists.get(number)?.name === name) this.#lists.delete(number);
  }

  attributes(node: number): NodeAttributes {
    const { list, place } = this.#place(node);
    const isFile = place >= firstFile;
    return {
      inode: node,
      generation: list ? Number.parseInt(list.name.slice(8, 16), 16) : 0,
      mode: isFile ? fileMode : directoryMode,
      size: list && isFile ? list.size(place - firstFile) : 0,
      nlink: isFile ? 1 : 2,
      uid: 0,
      gid: 0,
      rdev: 0,
      mtime: { seconds: 0, nanoseconds: 0 },
    };
  }

  lookup(directory: number, name: ByteString): number | undefined {
    const { list, place } = this.#directory(directory);
    if (!list) return name === dotDot ? rootNode : this.#findImage(name);
    if (name === dotDot) return place === 0 ? rootNode : nodeOf(list, 0);
    if (place === 0) {
      if (!directoryNames.test(name)) return undefined;
      return nodeOf(list, firstDirectory + Number.parseInt(name, 16));
    }
    if (!longNames.test(name) || !name.startsWith(directoryName(place))) return undefined;
    const file = list.find(name);
    return file === undefined ? undefined : nodeOf(list, firstFile + file);
  }

  entries(directory: number): readonly NamespaceEntry[] {
    const { list, place } = this.#directory(directory);
    if (!list) return ownEntries(rootNode, rootNode);
    const image = nodeOf(list, 0);
    if (place === 0) return [...ownEntries(image, rootNode), ...directoryEntries(list)];
    return [...ownEntries(directory, image), ...fileEntries(list, place - firstDirectory)];
  }

  symlinkTarget(node: number): ByteString {
    throw new ThinError('invalid', `Cannot read link ${node}: it is none`);
  }

  file(node: number): FileContent | undefined {
    const { list, place } = this.#place(node);
    if (!list || place < firstFile) return undefined;
    const file = place - firstFile;
    return { content: list.content(file), size: list.size(file), image: list.image };
  }

  statistics(): { inodes: number; bytes: number } {
    let inodes = 1;
    for (const { count } of this.#lists.values()) inodes += 1 + directoryCount + count;
    return { inodes, bytes: 0 };
  }

  #findImage(name: ByteString): number | undefined {
    if (!longNames.test(name)) return undefined;
    const list = this.#lists.get(imageNumber(name));
    return list?.name === name ? nodeOf(list, 0) : undefined;
  }

  #directory(node: number): Place {
    const found = this.#place(node);
    if (found.place < firstFile) return found;
    throw new ThinError('not-found', `Cannot look into node ${node}: it is a file`);
  }

  #place(node: number): Place {
    if (node === rootNode) return { list: undefined, place: 0 };
    const number = Math.floor((node - firstImageNode) / places);
    const place = node % places;
    const list = this.#lists.get(number);
    const isThere = place <= directoryCount || (place >= firstFile && list !== undefined);
    if (list && isThere && place < firstFile + list.count) return { list, place };
    throw new ThinError(
      'not-found',
      `Cannot find node ${node}: no image has a file of that number`,
    );
  }
}

function nodeOf(list: FileList, place: number): number {
  return firstImageNode + imageNumber(list.name) * places + place;
}

function directoryName(place: number): ByteString {
  return (place - firstDirectory).toString(16).padStart(2, '0') as ByteString;
}

function ownEntries(directory: number, parent: number): readonly NamespaceEntry[] {
  return [
    { name: dot, inode: directory, type: directoryType, node: undefined },
    { name: dotDot, inode: parent, type: directoryType, node: undefined },
  ];
}

function directoryEntries(list: FileList): readonly NamespaceEntry[] {
  return Array.from({ length: directoryCount }, (_, at) => {
    const node = nodeOf(list, firstDirectory + at);
    return { name: directoryName(firstDirectory + at), inode: node, type: directoryType, node };
  });
}

function fileEntries(list: FileList, byte: number): readonly NamespaceEntry[] {
  const { first, end } = list.beginningWith(byte);
  return Array.from({ length: end - first }, (_, at) => {
    const node = nodeOf(list, firstFile + first + at);
    const name = list.content(first + at).slice('sha256:'.length) as ByteString;
    return { name, inode: node, type: fileType, node };
  });
}
