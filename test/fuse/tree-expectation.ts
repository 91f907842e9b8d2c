import { type ByteString, byteStringToBuffer, emptyByteString } from '../../src/byte-string.js';
import type { DirectoryNode, Time, TreeNode } from '../../src/image/tree.js';
import type { TreeEntry, TreeSnapshot } from '../support/compare-trees.js';

/** How exact times are shown; `milliseconds` also knows no time before 1970. */
export type TimeForm = 'nanoseconds' | 'milliseconds';

/** What a program must see of a tree: the same as `snapshotTree()` of a mount of it. */
export function expectedSnapshot(
  root: DirectoryNode,
  times: TimeForm = 'nanoseconds',
): TreeSnapshot {
  const names = new Map<TreeNode, ByteString[]>();
  const paths = new Map<ByteString, TreeNode>();
  walk(root, emptyByteString, (path, node) => {
    paths.set(path, node);
    names.set(node, [...(names.get(node) ?? []), path]);
  });
  return new Map(
    [...paths].map(([path, node]) => [
      path,
      describe(path, node, names.get(node) ?? [path], times),
    ]),
  );
}

function walk(
  node: TreeNode,
  path: ByteString,
  visit: (path: ByteString, node: TreeNode) => void,
): void {
  visit(path, node);
  if (node.type !== 'directory') return;
  const names = [...node.children.keys()].sort(compareBytes);
  for (const name of names) {
    const child = node.children.get(name);
    if (child) walk(child, (path === '' ? name : `${path}/${name}`) as ByteString, visit);
  }
}

function compareBytes(a: ByteString, b: ByteString): number {
  return Buffer.compare(byteStringToBuffer(a), byteStringToBuffer(b));
}

function describe(
  path: ByteString,
  node: TreeNode,
  names: readonly ByteString[],
  times: TimeForm,
): TreeEntry {
  const { mode, uid, gid } = node;
  const xattrs = [...node.xattrs].map(([name, value]) => [name, value.toString('hex')] as const);
  const common = { path, mode, uid, gid, mtime: `${shownTime(node.mtime, times)}` };
  const shared = { ...common, xattrs: Object.fromEntries(xattrs) };
  if (node.type === 'directory') return { ...shared, type: node.type };
  const linked = { ...shared, nlink: names.length, linkedWith: names[0] ?? path };
  if (node.type === 'file') {
    return { ...linked, type: node.type, size: node.size, content: node.content };
  }
  if (node.type === 'symlink') {
    return { ...linked, type: node.type, size: node.target.length, target: node.target };
  }
  if (node.type === 'fifo' || node.type === 'socket') return { ...linked, type: node.type };
  return { ...linked, type: node.type, device: `${node.device.major}:${node.device.minor}` };
}

function shownTime({ seconds, nanoseconds }: Time, times: TimeForm): bigint {
  const exact = BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds);
  if (times === 'nanoseconds') return exact;
  return exact < 0n ? 0n : (exact / 1_000_000n) * 1_000_000n;
}
