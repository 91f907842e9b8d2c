import type { ByteString } from '../../src/byte-string.js';
import type { DirectoryNode, TreeNode } from '../../src/image/tree.js';
import type { TreeEntry, TreeSnapshot } from '../support/compare-trees.js';

/** A merged tree in the form in which `snapshotTree` describes a folder. */
export function snapshotOfTree(root: DirectoryNode): TreeSnapshot {
  const paths = walk(root);
  const names = new Map<TreeNode, ByteString[]>();
  for (const [path, node] of paths) names.set(node, [...(names.get(node) ?? []), path]);
  const entries = paths.map(([path, node]) => describe(path, node, names.get(node) ?? []));
  return new Map(entries.map((entry) => [entry.path, entry]));
}

/** Parents first, in the byte order of names. */
function walk(root: DirectoryNode): [ByteString, TreeNode][] {
  const paths: [ByteString, TreeNode][] = [];
  const waiting: [ByteString, TreeNode][] = [['' as ByteString, root]];
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    paths.push(at);
    const [path, node] = at;
    if (node.type !== 'directory') continue;
    const children = [...node.children].sort(([a], [b]) => (a < b ? 1 : -1));
    const prefix = path === '' ? '' : `${path}/`;
    for (const [name, child] of children) waiting.push([`${prefix}${name}` as ByteString, child]);
  }
  return paths;
}

function describe(path: ByteString, node: TreeNode, names: readonly ByteString[]): TreeEntry {
  const { type, mode, uid, gid, mtime } = node;
  const nanoseconds = BigInt(mtime.seconds) * 1_000_000_000n + BigInt(mtime.nanoseconds);
  return {
    path,
    type,
    mode,
    uid,
    gid,
    mtime: `${nanoseconds}`,
    xattrs: Object.fromEntries(
      [...node.xattrs].map(([name, value]) => [name, value.toString('hex')]),
    ),
    ...(type !== 'directory' && { nlink: names.length, linkedWith: names[0] }),
    ...(node.type === 'file' && { size: node.size, content: node.content }),
    ...(node.type === 'symlink' && { size: node.target.length, target: node.target }),
    ...('device' in node && { device: `${node.device.major}:${node.device.minor}` }),
  };
}
