import type { ByteString } from '../byte-string.js';
import type { LayerEntry } from '../image/layer-entry.js';
import type { TreeNode } from '../image/tree.js';
import { unmergeable } from './merge-error.js';
import { type HardlinkEntry, nodeOf } from './merge-node.js';
import { type MergeTree, splitPath } from './merge-tree.js';

/** The hard links of one layer: names for inodes of this layer or of lower ones (L11, L12). */
export class MergeHardlinks {
  readonly #tree: MergeTree;
  /** AUFS keeps the inodes of link groups in `.wh..wh.plnk`, hidden, for other entries to link to. */
  readonly #hidden = new Map<ByteString, TreeNode>();
  /** Links whose target has not come yet, by their own path. */
  readonly #waiting = new Map<ByteString, HardlinkEntry>();

  constructor(tree: MergeTree) {
    this.#tree = tree;
  }

  /** Makes the link, now or in {@link finish}. @throws ThinError `corrupt` if it is to a directory */
  add(entry: HardlinkEntry): void {
    if (!this.#link(entry)) this.#waiting.set(entry.path, entry);
  }

  /** An entry that is not to be seen, but may be linked to. */
  hide(entry: LayerEntry): void {
    if (entry.type === 'hardlink' || entry.type === 'directory') return;
    this.#tree.count(entry.path);
    this.#hidden.set(entry.path, nodeOf(entry, this.#tree.files));
  }

  /** A later entry has the same path, so a link that waits there is out of date. */
  replace(path: ByteString): void {
    if (this.#waiting.size > 0) this.#waiting.delete(path);
  }

  /**
   * Makes the links that came before their target, each as soon as its target is there, which may be
   * such a link itself.
   * @throws ThinError `corrupt` if a target never came
   */
  finish(): void {
    const byTarget = new Map<ByteString, HardlinkEntry[]>();
    for (const entry of this.#waiting.values()) {
      const others = byTarget.get(entry.target);
      if (others === undefined) byTarget.set(entry.target, [entry]);
      else others.push(entry);
    }
    const ready = [...this.#waiting.values()];
    for (const entry of ready) {
      if (!this.#waiting.has(entry.path) || !this.#link(entry)) continue;
      this.#waiting.delete(entry.path);
      for (const next of byTarget.get(entry.path) ?? []) ready.push(next);
    }
    for (const { path, target } of this.#waiting.values()) {
      throw unmergeable(path, `is a hard link to "${target.slice(0, 200)}", which does not exist`);
    }
  }

  #link(entry: HardlinkEntry): boolean {
    const node = this.#hidden.get(entry.target) ?? nodeAt(this.#tree, entry.target);
    if (node === undefined) return false;
    if (node.type === 'directory') throw unmergeable(entry.path, 'is a hard link to a directory');
    const { parent, name } = splitPath(entry.path);
    this.#tree.put(this.#tree.make(parent), name, node);
    this.#tree.linked.add(node);
    return true;
  }
}

/** The node at `path`, the last component not followed. */
function nodeAt(tree: MergeTree, path: ByteString): TreeNode | undefined {
  if (path === '') return tree.root;
  const { parent, name } = splitPath(path);
  return tree.find(parent)?.directory.children.get(name);
}
