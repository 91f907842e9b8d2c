import { type ByteString, emptyByteString } from '../byte-string.js';
import type { DirectoryNode, TreeNode } from '../image/tree.js';
import { limits } from '../limits.js';
import { packRecords } from './directory-records.js';
import {
  type DirectoryPlan,
  displayPath,
  type InodePlan,
  isWhiteout,
  refusal,
} from './inode-plan.js';
import { InodeTable } from './inode-table.js';
import { problemOfName, problemOfNode } from './node-limits.js';

const dot = '.' as ByteString;
const dotDot = '..' as ByteString;

/**
 * Every inode of a tree once, in the order in which they will lie in the image: the children of a
 * directory side by side, so that `ls -l` of it reads few blocks, then the subtrees one by one.
 * @param linked nodes that may have several names, if that is known
 * @throws ThinError `invalid` if the tree is none, or has what the format cannot say
 */
export function collectInodes(root: DirectoryNode, linked?: ReadonlySet<TreeNode>): InodeTable {
  const inodes = new InodeTable();
  const seen = new SeenInodes(linked);
  seen.set(root, addInode(inodes, root, emptyByteString, undefined));
  const pending = [0];
  for (let number = pending.pop(); number !== undefined; number = pending.pop()) {
    const plan = inodes.at(number);
    if (plan.node.type !== 'directory') continue;
    const firstNew = inodes.length;
    inodes.setDirectory(number, planDirectory(plan, plan.node, seen, inodes));
    if (inodes.length > limits.entriesMax) {
      throw refusal(plan, `the tree has more than ${limits.entriesMax} inodes`);
    }
    for (let child = inodes.length - 1; child >= firstNew; child -= 1) {
      if (inodes.nodeAt(child).type === 'directory') pending.push(child);
    }
  }
  return inodes;
}

/** Numbers of nodes that may be met again: of all nodes they take half as much as the tree. */
class SeenInodes {
  readonly #linked: ReadonlySet<TreeNode> | undefined;
  readonly #numbers = new Map<TreeNode, number>();

  constructor(linked: ReadonlySet<TreeNode> | undefined) {
    this.#linked = linked;
  }

  get(node: TreeNode): number | undefined {
    return this.#numbers.get(node);
  }

  set(node: TreeNode, number: number): void {
    if (this.#linked === undefined || this.#linked.has(node)) this.#numbers.set(node, number);
  }
}

/** Plans the children that were not seen before, and counts the links to all. */
function planDirectory(
  plan: InodePlan,
  node: DirectoryNode,
  seen: SeenInodes,
  inodes: InodeTable,
): DirectoryPlan {
  const sorted = [...node.children.keys(), dot, dotDot].sort(); // by UTF-16 units, which are bytes here
  const names = sorted.slice(); // what has grown has room for more
  let holdsWhiteout = false;
  const numbers = names.map((name) => {
    const childNode = node.children.get(name);
    if (childNode === undefined) return (name === dot ? plan : (plan.parent ?? plan)).number;
    holdsWhiteout ||= isWhiteout(childNode);
    const known = seen.get(childNode);
    if (known !== undefined) return linkAgain(inodes.at(known), name, plan);
    const child = addInode(inodes, childNode, name, plan);
    seen.set(childNode, child);
    if (childNode.type === 'directory') plan.nlink++;
    return child;
  });
  return { names, inodes: numbers, ...packRecords(names), holdsWhiteout };
}

/** @returns its number */
function addInode(
  inodes: InodeTable,
  node: TreeNode,
  name: ByteString,
  parent: InodePlan | undefined,
): number {
  const problem = (parent && problemOfName(name)) ?? problemOfNode(node);
  if (problem !== undefined) throw refusal({ name, parent }, problem);
  return inodes.add(node, name, parent?.number ?? 0);
}

/** @returns its number */
function linkAgain(known: InodePlan, name: ByteString, parent: InodePlan): number {
  const problem =
    known.node.type === 'directory'
      ? `the directory is also at ${displayPath(known)} (wanted one name for a directory)`
      : problemOfName(name);
  if (problem !== undefined) throw refusal({ name, parent }, problem);
  known.nlink++;
  return known.number;
}
