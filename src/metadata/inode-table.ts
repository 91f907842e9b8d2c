import { type ByteString, emptyByteString } from '../byte-string.js';
import type { TreeNode } from '../image/tree.js';
import { NumberColumn } from '../number-column.js';
import type { DirectoryPlan, InodePlan } from './inode-plan.js';

/**
 * The inodes on their way into an image, by their number there. Each is a few numbers in columns: an
 * object of each would take as much memory as half of the tree.
 */
export class InodeTable {
  readonly #nodes: TreeNode[] = [];
  readonly #names: ByteString[] = [];
  readonly #directories = new Map<number, DirectoryPlan>();
  readonly #columns: Columns = {
    parent: new NumberColumn(),
    nlink: new NumberColumn(),
    xattrBytes: new NumberColumn(),
    offset: new NumberColumn(),
    block: new NumberColumn(),
  };

  get length(): number {
    return this.#nodes.length;
  }

  /** @param parent number of the directory that has it, its own for the root @returns its number */
  add(node: TreeNode, name: ByteString, parent: number): number {
    const { parent: parents, nlink, xattrBytes, offset, block } = this.#columns;
    this.#names.push(name);
    parents.push(parent);
    nlink.push(node.type === 'directory' ? 2 : 1);
    xattrBytes.push(0);
    offset.push(0);
    block.push(0);
    return this.#nodes.push(node) - 1;
  }

  /** @throws RangeError if there is no such inode */
  at(number: number): InodePlan {
    return new TableRow(this, this.#columns, number, this.nodeAt(number));
  }

  /** @throws RangeError if there is no such inode */
  nodeAt(number: number): TreeNode {
    const node = this.#nodes[number];
    if (node === undefined) throw new RangeError(`no inode ${number}`);
    return node;
  }

  nameAt(number: number): ByteString {
    return this.#names[number] ?? emptyByteString;
  }

  offsetAt(number: number): number {
    return this.#columns.offset.at(number);
  }

  /** What a directory holds, where it is known already. */
  directory(number: number): DirectoryPlan | undefined {
    return this.#directories.get(number);
  }

  setDirectory(number: number, directory: DirectoryPlan): void {
    this.#directories.set(number, directory);
  }

  /** Shows every inode in turn, by one object that is valid until `look` returns. */
  forEach(look: (inode: InodePlan) => void): void {
    const row = new TableRow(this, this.#columns, 0, this.nodeAt(0));
    for (let number = 0; number < this.length; number += 1) {
      row.number = number;
      row.node = this.nodeAt(number);
      look(row);
    }
  }
}

interface Columns {
  readonly parent: NumberColumn;
  readonly nlink: NumberColumn;
  readonly xattrBytes: NumberColumn;
  readonly offset: NumberColumn;
  readonly block: NumberColumn;
}

/** One inode of the table, as it is looked at. */
class TableRow implements InodePlan {
  number: number;
  node: TreeNode;
  readonly #table: InodeTable;
  readonly #columns: Columns;

  constructor(table: InodeTable, columns: Columns, number: number, node: TreeNode) {
    this.number = number;
    this.node = node;
    this.#table = table;
    this.#columns = columns;
  }

  get name(): ByteString {
    return this.#table.nameAt(this.number);
  }

  get parent(): InodePlan | undefined {
    return this.number === 0 ? undefined : this.#table.at(this.#columns.parent.at(this.number));
  }

  get directory(): DirectoryPlan | undefined {
    return this.node.type === 'directory' ? this.#table.directory(this.number) : undefined;
  }

  get nlink(): number {
    return this.#columns.nlink.at(this.number);
  }

  set nlink(links: number) {
    this.#columns.nlink.set(this.number, links);
  }

  get xattrBytes(): number {
    return this.#columns.xattrBytes.at(this.number);
  }

  set xattrBytes(bytes: number) {
    this.#columns.xattrBytes.set(this.number, bytes);
  }

  get offset(): number {
    return this.#columns.offset.at(this.number);
  }

  set offset(offset: number) {
    this.#columns.offset.set(this.number, offset);
  }

  get block(): number {
    return this.#columns.block.at(this.number);
  }

  set block(block: number) {
    this.#columns.block.set(this.number, block);
  }
}
