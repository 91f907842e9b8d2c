import type { LayerEntry } from '../image/layer-entry.js';
import type { Attributes, DirectoryNode, TreeNode } from '../image/tree.js';
import type { MergedFiles } from './merged-file.js';

export type HardlinkEntry = Extract<LayerEntry, { type: 'hardlink' }>;

/**
 * A new inode as `entry` describes it, a directory without children. Plain literals, no spreads:
 * those take several times as long, and this is called for every entry of an image.
 */
export function nodeOf(entry: Exclude<LayerEntry, HardlinkEntry>, files: MergedFiles): TreeNode {
  const { type, mode, uid, gid, mtime, xattrs } = entry;
  switch (type) {
    case 'directory':
      return newDirectory(entry);
    case 'file':
      return files.make(entry);
    case 'symlink':
      return { type, mode, uid, gid, mtime, xattrs, target: entry.target };
    case 'character':
    case 'block':
      return { type, mode, uid, gid, mtime, xattrs, device: entry.device };
    case 'fifo':
      return { type, mode, uid, gid, mtime, xattrs };
  }
}

export function newDirectory({ mode, uid, gid, mtime, xattrs }: Attributes): DirectoryNode {
  return { type: 'directory', mode, uid, gid, mtime, xattrs, children: new Map() };
}

export function setAttributes(directory: DirectoryNode, from: Attributes): void {
  const attributes: { -readonly [K in keyof Attributes]: Attributes[K] } = directory;
  attributes.mode = from.mode;
  attributes.uid = from.uid;
  attributes.gid = from.gid;
  attributes.mtime = from.mtime;
  attributes.xattrs = from.xattrs;
}
