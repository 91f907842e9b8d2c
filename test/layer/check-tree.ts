import type { ByteString } from '../../src/byte-string.js';
import type { Digest } from '../../src/digest.js';
import type { DirectoryNode, TreeNode } from '../../src/image/tree.js';
import type { ExpectedNode, ExpectedTree } from './torture-layers.js';

/** Every path of a tree, the root as `''`. */
export function pathsOf(root: DirectoryNode): Map<string, TreeNode> {
  const paths = new Map<string, TreeNode>([['', root]]);
  const add = (directory: DirectoryNode, prefix: string) => {
    for (const [name, node] of directory.children) {
      paths.set(prefix + name, node);
      if (node.type === 'directory') add(node, `${prefix + name}/`);
    }
  };
  add(root, '');
  return paths;
}

/** What is seen of `tree` in the terms of `expected`, to be compared with it as a whole. */
export function seenAs(
  expected: ExpectedTree,
  tree: DirectoryNode,
  contents: ReadonlyMap<Digest, Buffer>,
): ExpectedTree {
  const nodes = pathsOf(tree);
  const seen = [...nodes]
    .filter(([path]) => path !== '' || '' in expected)
    .map(([path, node]) => [path, seenNode(expected[path], node, nodes, contents)] as const);
  return Object.fromEntries(seen);
}

function seenNode(
  expected: ExpectedNode | undefined,
  node: TreeNode,
  nodes: ReadonlyMap<string, TreeNode>,
  contents: ReadonlyMap<Digest, Buffer>,
): ExpectedNode {
  const all: Required<ExpectedNode> = {
    type: node.type === 'socket' ? 'fifo' : node.type,
    mode: node.mode,
    uid: node.uid,
    gid: node.gid,
    mtime: [node.mtime.seconds, node.mtime.nanoseconds],
    content: node.type === 'file' ? (contents.get(node.content)?.toString('latin1') ?? '?') : '',
    size: node.type === 'file' ? node.size : -1,
    target: node.type === 'symlink' ? node.target : '',
    device: 'device' in node ? [node.device.major, node.device.minor] : [-1, -1],
    xattrs: Object.fromEntries(
      [...node.xattrs].map(([name, value]): [ByteString, string] => [
        name,
        value.toString('latin1'),
      ]),
    ),
    sameInodeAs:
      nodes.get(expected?.sameInodeAs ?? '') === node ? (expected?.sameInodeAs ?? '') : '',
  };
  const wanted = Object.keys(expected ?? { type: 1 });
  return {
    type: all.type,
    ...Object.fromEntries(Object.entries(all).filter(([key]) => wanted.includes(key))),
  };
}
