import type { LayerEntry } from '../image/layer-entry.js';
import type { Attributes, DirectoryNode, TreeNode } from '../image/tree.js';

export type HardlinkEntry = Extract<LayerEntry, { type: 'hardlink' }>;

/** A new inode as `entry` describes it, a directory without children. */
export function nodeOf(entry: Exclude<LayerEntry, HardlinkEntry>): TreeNode {
  const { mode, uid, gid, mtime, xattrs } = entry;
  const attributes = { mode, uid, gid, mtime, xattrs };
  switch (entry.type) {
    case 'directory':
      return newDirectory(entry);
    case 'file':
      return { ...attributes, type: 'file', size: entry.size, content: entry.content };
    case 'symlink':
      return { ...attributes, type: 'symlink', target: entry.target };
    case 'character':
    case 'block':
      return { ...attributes, type: entry.type, device: entry.device };
    case 'fifo':
      return { ...attributes, type: 'fifo' };
  }
}

export function newDirectory({ mode, uid, gid, mtime, xattrs }: Attributes): DirectoryNode {
  return { mode, uid, gid, mtime, xattrs, type: 'directory', children: new Map() };
}

export function setAttributes(directory: DirectoryNode, from: Attributes): void {
  const attributes: { -readonly [K in keyof Attributes]: Attributes[K] } = directory;
  attributes.mode = from.mode;
  attributes.uid = from.uid;
  attributes.gid = from.gid;
  attributes.mtime = from.mtime;
  attributes.xattrs = from.xattrs;
}
