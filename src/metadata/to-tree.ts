import type { ByteString } from '../byte-string.js';
import type { Attributes, DirectoryNode, TreeNode } from '../image/tree.js';
import type { ErofsImage, Inode } from './erofs-image.js';
import { corrupt } from './image-bytes.js';
import { TreeReader, walkImage } from './tree-reader.js';

/**
 * The whole tree of an image as objects: the inverse of `writeErofs`. Hard links are one object.
 * @throws ThinError `corrupt`
 */
export function toTree(image: ErofsImage): DirectoryNode {
  const reader = new TreeReader(image);
  const directories = new Map<number, Map<ByteString, TreeNode>>();
  const others = new Map<number, TreeNode>();
  let root: DirectoryNode | undefined;
  for (const { nid, parentNid, name, type } of walkImage(image, reader)) {
    const node = others.get(nid) ?? readNode(image, reader, nid);
    if (node.type !== type)
      throw corrupt(`inode ${nid} is a ${node.type}, its record says ${type}`);
    if (node.type !== 'directory') others.set(nid, node);
    else directories.set(nid, node.children);
    if (node.type === 'directory' && root === undefined) root = node;
    else directories.get(parentNid)?.set(name, node);
  }
  if (root === undefined) throw corrupt('it has no root');
  return root;
}

function readNode(image: ErofsImage, reader: TreeReader, nid: number): TreeNode {
  const inode = image.inode(nid);
  const { mode, uid, gid, mtime } = inode;
  const attributes = { mode, uid, gid, mtime, xattrs: reader.xattrs(nid) };
  return nodeOf(image, inode, attributes);
}

function nodeOf(image: ErofsImage, inode: Inode, attributes: Attributes): TreeNode {
  const { type, size, content, device } = inode;
  switch (type) {
    case 'directory':
      return { ...attributes, type, children: new Map() };
    case 'file':
      if (content === undefined) break;
      return { ...attributes, type, size, content };
    case 'symlink':
      return { ...attributes, type, target: image.readlink(inode.nid) };
    case 'character':
    case 'block':
      if (device === undefined) break;
      return { ...attributes, type, device };
    default:
      return { ...attributes, type };
  }
  throw corrupt(`inode ${inode.nid}, a ${type}, is incomplete`);
}
