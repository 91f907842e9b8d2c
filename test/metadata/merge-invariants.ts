import type { DirectoryNode, TreeNode } from '../../src/image/tree.js';
import { limits } from '../../src/limits.js';

/**
 * What holds for every merged tree, whatever the layers were: names are names, nothing is reached
 * twice but through hard links, and it is not too deep.
 * @throws Error otherwise
 */
export function checkTree(root: DirectoryNode): void {
  const directories = new Set<TreeNode>([root]);
  const waiting: { directory: DirectoryNode; depth: number }[] = [{ directory: root, depth: 0 }];
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    if (at.depth > limits.pathDepthMax) throw new Error('the tree is too deep');
    for (const [name, node] of at.directory.children) {
      if (/^(\.{0,2}|\.wh\..*)$|\/|\0/s.test(name)) throw new Error(`a file is called "${name}"`);
      if (node.type !== 'directory') continue;
      if (directories.has(node)) throw new Error(`directory "${name}" is reached twice`);
      directories.add(node);
      waiting.push({ directory: node, depth: at.depth + 1 });
    }
  }
}
