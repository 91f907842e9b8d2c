import type { ByteString } from '../byte-string.js';
import { isThinError, ThinError } from '../errors.js';
import type { LayerChanges, LayerEntry } from '../image/layer-entry.js';
import type { DirectoryNode, TreeNode } from '../image/tree.js';
import { limits } from '../limits.js';
import { unmergeable } from './merge-error.js';
import { MergeHardlinks } from './merge-hardlinks.js';
import { type HardlinkEntry, nodeOf, setAttributes } from './merge-node.js';
import { type MergeBounds, MergeTree, mergeBounds, splitPath } from './merge-tree.js';
import { applyWhiteouts, roleOf } from './merge-whiteouts.js';

/**
 * The file system that layers make together, lowest first: OCI image specification 1.1, layer.md,
 * "Applying Changesets". Where that leaves room, containerd is followed:
 *
 * - Whiteouts touch lower layers only and go before the layer's own entries: `applyWhiteouts`.
 * - Of several entries with one path the last one wins (L10).
 * - A directory over a directory replaces its attributes and keeps its children (L8); with any other
 *   change the old goes and the new begins empty (L9). A directory over a symlink to one replaces
 *   the symlink.
 * - Symlinks in the parents of an entry are followed inside the root, as the tree is at that point of
 *   the archive.
 * - A hard link is one more name for its target's inode, which may be a lower layer's (L12) and may
 *   be a symlink, but no directory. It keeps the inode's attributes, whatever the link's entry says
 *   (as umoci and GNU tar; containerd overwrites them). Links in front of their target, which other
 *   tools refuse, are made at the end of the layer.
 * - `./` sets the root's attributes (L22; containerd ignores it). The root can only be a directory.
 * - Missing parents are 0755, of root, of 1970 (L23).
 * - Devices are kept, 0:0 too: it is no whiteout here (L13). Overlay xattrs are kept as they are
 *   (L14); whoever writes the tree for overlayfs has to escape both.
 *
 * Deterministic; the order of `children` means nothing. Linear in the entries, about 2 µs each.
 * @throws ThinError `corrupt` if the layers cannot be put together or exceed `limits`
 */
export function mergeLayers(
  layers: readonly LayerChanges[],
  bounds: MergeBounds = mergeBounds,
): DirectoryNode {
  const merge = new LayerMerge(layers.length, bounds);
  for (const layer of layers) merge.add(layer);
  return merge.root;
}

/** The same, layer by layer: what is here is merged while others are on their way. */
export class LayerMerge {
  readonly #tree: MergeTree;
  readonly #layers: number;
  #added = 0;

  /** @param layers how many there are @throws ThinError `corrupt` if those are too many */
  constructor(layers: number, bounds: MergeBounds = mergeBounds) {
    if (layers > limits.layersMax) {
      throw new ThinError(
        'corrupt',
        `Cannot merge ${layers} layers (wanted at most ${limits.layersMax})`,
      );
    }
    this.#tree = new MergeTree(bounds);
    this.#layers = layers;
  }

  /** The next layer, lowest first. @throws ThinError `corrupt`; the tree is of no use then */
  add(layer: LayerChanges): void {
    this.#added += 1;
    try {
      applyLayer(this.#tree, layer);
    } catch (error) {
      if (!isThinError(error)) throw error;
      const where = `layer ${this.#added} of ${this.#layers}, ${layer.diffId}`;
      throw new ThinError(error.code, `${error.message} (${where})`, { cause: error });
    }
  }

  /** What those that were added make together. */
  get root(): DirectoryNode {
    return this.#tree.root;
  }

  /** Nodes of it that have several names are among these. */
  get linked(): ReadonlySet<TreeNode> {
    return this.#tree.linked;
  }
}

function applyLayer(tree: MergeTree, layer: LayerChanges): void {
  const { entries, paths, mayHaveWhiteouts = true } = layer;
  if (mayHaveWhiteouts) {
    applyWhiteouts(tree, paths ?? { [Symbol.iterator]: () => pathsOf(entries) });
  }
  const links = new MergeHardlinks(tree);
  for (const entry of entries) {
    const role = roleOf(entry.path).kind;
    if (role === 'hidden') links.hide(entry);
    if (role !== 'content') continue;
    links.replace(entry.path);
    if (entry.path === '') setRoot(tree, entry);
    else if (entry.type === 'hardlink') links.add(entry);
    else placeEntry(tree, entry);
  }
  links.finish();
}

function* pathsOf(entries: Iterable<LayerEntry>): Generator<ByteString, void> {
  for (const { path } of entries) yield path;
}

function placeEntry(tree: MergeTree, entry: Exclude<LayerEntry, HardlinkEntry>): void {
  const { parent, name } = splitPath(entry.path);
  const place = tree.make(parent);
  const former = place.directory.children.get(name);
  if (entry.type === 'directory' && former?.type === 'directory') {
    tree.count(entry.path);
    setAttributes(former, entry);
  } else {
    tree.put(place, name, nodeOf(entry, tree.files));
  }
}

/** CVE-2021-29136: a symlink as the root led later layers out of it. */
function setRoot(tree: MergeTree, entry: LayerEntry): void {
  if (entry.type !== 'directory') {
    throw unmergeable(entry.path, `makes a ${entry.type} of the root (wanted a directory)`);
  }
  setAttributes(tree.root, entry);
}
