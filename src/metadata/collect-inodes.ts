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
import { problemOfName, problemOfNode } from './node-limits.js';

const dot = '.' as ByteString;
const dotDot = '..' as ByteString;

/**
 * Every inode of a tree once, in the order in which they will lie in the image: the children of a
 * directory side by side, so that `ls -l` of it reads few blocks, then the subtrees one by one.
 * @param linked nodes that may have several names, if that is known
 * @throws ThinError `invalid` if the tree is none, or has what the format cannot say
 */
export function collectInodes(root: DirectoryNode, linked?: ReadonlySet<TreeNode>): InodePlan[] {
  const rootPlan = newPlan(root, emptyByteString, undefined);
  const plans = [rootPlan];
  const planOf = new SeenPlans(linked);
  planOf.set(root, rootPlan);
  const pending: InodePlan[] = [rootPlan];
  for (let plan = pending.pop(); plan !== undefined; plan = pending.pop()) {
    if (plan.node.type !== 'directory') continue;
    const firstNew = plans.length;
    plan.directory = planDirectory(plan, plan.node, planOf, plans);
    if (plans.length > limits.entriesMax) {
      throw refusal(plan, `the tree has more than ${limits.entriesMax} inodes`);
    }
    for (let i = plans.length - 1; i >= firstNew; i--) {
      const child = plans[i];
      if (child?.node.type === 'directory') pending.push(child);
    }
  }
  return plans;
}

/** Plans by their nodes: only of those that may be met again, as it takes half as much as the plans. */
class SeenPlans {
  readonly #linked: ReadonlySet<TreeNode> | undefined;
  readonly #plans = new Map<TreeNode, InodePlan>();

  constructor(linked: ReadonlySet<TreeNode> | undefined) {
    this.#linked = linked;
  }

  get(node: TreeNode): InodePlan | undefined {
    return this.#plans.get(node);
  }

  set(node: TreeNode, plan: InodePlan): void {
    if (this.#linked === undefined || this.#linked.has(node)) this.#plans.set(node, plan);
  }
}

/** Plans the children that were not seen before, and counts the links to all. */
function planDirectory(
  plan: InodePlan,
  node: DirectoryNode,
  planOf: SeenPlans,
  plans: InodePlan[],
): DirectoryPlan {
  const names = [...node.children.keys(), dot, dotDot].sort(); // by UTF-16 units, which are bytes here
  let holdsWhiteout = false;
  const inodes = names.map((name) => {
    const childNode = node.children.get(name);
    if (childNode === undefined) return name === dot ? plan : (plan.parent ?? plan);
    holdsWhiteout ||= isWhiteout(childNode);
    const known = planOf.get(childNode);
    if (known !== undefined) return linkAgain(known, name, plan);
    const child = newPlan(childNode, name, plan);
    planOf.set(childNode, child);
    plans.push(child);
    if (childNode.type === 'directory') plan.nlink++;
    return child;
  });
  return { names, inodes, ...packRecords(names), holdsWhiteout };
}

function newPlan(node: TreeNode, name: ByteString, parent: InodePlan | undefined): InodePlan {
  const nlink = node.type === 'directory' ? 2 : 1;
  const directory: DirectoryPlan | undefined = undefined;
  const plan = { node, name, parent, directory, nlink, xattrBytes: 0, offset: 0, block: 0 };
  const problem = (parent && problemOfName(name)) ?? problemOfNode(node);
  if (problem !== undefined) throw refusal(plan, problem);
  return plan;
}

function linkAgain(known: InodePlan, name: ByteString, parent: InodePlan): InodePlan {
  const problem =
    known.node.type === 'directory'
      ? `the directory is also at ${displayPath(known)} (wanted one name for a directory)`
      : problemOfName(name);
  if (problem !== undefined) throw refusal({ name, parent }, problem);
  known.nlink++;
  return known;
}
