import { type ByteString, displayByteString } from '../byte-string.js';
import { ThinError } from '../errors.js';
import type { NodeType, TreeNode } from '../image/tree.js';
import { limits } from '../limits.js';

/** An inode on its way into an image. Fields that are not `readonly` are filled by later stages. */
export interface InodePlan {
  /** Its place among the inodes; the root's is 0. */
  readonly number: number;
  readonly node: TreeNode;
  /** Its first name, and the directory that has it: undefined for the root. */
  readonly name: ByteString;
  readonly parent: InodePlan | undefined;
  /** What a directory holds, undefined for everything else. */
  readonly directory: DirectoryPlan | undefined;
  nlink: number;
  /** Bytes of its xattr area. */
  xattrBytes: number;
  /** Where it is in the image, in bytes. */
  offset: number;
  /** Address of the first of its full blocks, 0 if it has none. */
  block: number;
}

export interface DirectoryPlan {
  /** In the order of the records: byte order, with `.` and `..` among them. */
  readonly names: readonly ByteString[];
  /** The numbers of what each of them names. */
  readonly inodes: readonly number[];
  /** For each block, the index after its last record. */
  readonly blockEnds: readonly number[];
  /** Bytes of all records with their names. */
  readonly size: number;
  /** True if a character device 0:0 is in it. */
  readonly holdsWhiteout: boolean;
}

/** True for the character device 0:0, which overlayfs takes for the absence of a file. */
export function isWhiteout(node: TreeNode): boolean {
  return node.type === 'character' && node.device.major === 0 && node.device.minor === 0;
}

/** The type that the image gives it: a device 0:0 is an empty file there. */
export function storedType(node: TreeNode): NodeType {
  return isWhiteout(node) ? 'file' : node.type;
}

export function refusal(at: Pick<InodePlan, 'name' | 'parent'>, problem: string): ThinError {
  return new ThinError('invalid', `Cannot write metadata of ${displayPath(at)}: ${problem}`);
}

export function displayPath(at: Pick<InodePlan, 'name' | 'parent'>): string {
  const names: string[] = [];
  let plan: typeof at | undefined = at;
  for (; plan !== undefined && names.length < limits.pathDepthMax; plan = plan.parent) {
    names.push(displayByteString(plan.name));
  }
  return names.length === 1 ? '/' : names.reverse().join('/');
}
