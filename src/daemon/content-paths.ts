import type { Digest } from '../digest.js';
import type { ErofsImage } from '../metadata/erofs-image.js';

/** Inodes that are looked at for the sake of a message. */
const inodesMax = 50_000;
/** Paths told of one content. */
const pathsMax = 3;

/** Where a tree has files of these contents; incomplete for very large trees. */
export function contentPaths(
  tree: ErofsImage,
  contents: ReadonlySet<Digest>,
): Map<Digest, string[]> {
  const found = new Map<Digest, string[]>();
  const folders = [{ nid: tree.rootNid, path: '' }];
  let looked = 0;
  for (let at = folders.shift(); at && looked < inodesMax; at = folders.shift()) {
    for (const { name, nid, type } of tree.readdir(at.nid)) {
      if (name === '.' || name === '..') continue;
      const path = `${at.path}/${Buffer.from(name, 'latin1').toString('utf8')}`;
      if (type === 'directory') folders.push({ nid, path });
      if (type !== 'file') continue;
      looked += 1;
      const { content } = tree.inode(nid);
      if (content === undefined || !contents.has(content)) continue;
      const paths = found.get(content) ?? [];
      if (paths.length < pathsMax) found.set(content, [...paths, path]);
    }
  }
  return found;
}
