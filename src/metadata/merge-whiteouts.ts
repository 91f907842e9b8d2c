import type { ByteString } from '../byte-string.js';
import { whiteoutPrefix as prefix } from '../image/layer-entry.js';
import type { DirectoryNode } from '../image/tree.js';
import { unmergeable } from './merge-error.js';
import type { MergeTree } from './merge-tree.js';

/**
 * What an entry is by its name alone, whatever its type:
 * - `content`: what the layer has
 * - `whiteout`: takes `name` of the lower layers out of the directory `parent`
 * - `opaque`: takes everything of the lower layers out of the directory `parent`
 * - `hidden`: bookkeeping of AUFS (`.wh..wh.plnk`, `.wh..wh.orph`), in old layers of Docker
 */
export type EntryRole =
  | { readonly kind: 'content' | 'hidden' }
  | { readonly kind: 'whiteout'; readonly parent: ByteString; readonly name: ByteString }
  | { readonly kind: 'opaque'; readonly parent: ByteString };

const metaPrefix = '.wh..wh.';
const opaqueName = '.wh..wh..opq';

const content: EntryRole = { kind: 'content' };
const hidden: EntryRole = { kind: 'hidden' };

/**
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md#whiteouts
 * @throws ThinError `corrupt` for whiteouts of nothing, `.` or `..` (L4, L7), and for entries below a
 *   whiteout, since no name may begin with `.wh.` (L3; containerd makes a directory of it)
 */
export function roleOf(path: ByteString): EntryRole {
  const at = path.startsWith(prefix) ? 0 : path.indexOf(`/${prefix}`) + 1;
  if (at === 0 && !path.startsWith(prefix)) return content;
  const [first = '', ...below] = path.slice(at).split('/');
  const parent = path.slice(0, Math.max(at - 1, 0)) as ByteString;
  if (first === opaqueName && below.length === 0) return { kind: 'opaque', parent };
  if (first.startsWith(metaPrefix)) return hidden;
  if (below.length > 0) throw unmergeable(path, 'is below a whiteout');
  const name = first.slice(prefix.length) as ByteString;
  if (name === '' || name === '.' || name === '..') {
    throw unmergeable(path, 'is a whiteout of no file (wanted a name behind .wh.)');
  }
  return { kind: 'whiteout', parent, name };
}

/**
 * Removes from the tree, which holds the lower layers only, what a layer's whiteouts say, wherever
 * in the layer they are (L1, L2, L5). They are all looked up before the first is done, so that their
 * order means nothing. What is not there is not missed; nothing is created (as umoci has it;
 * containerd makes a whiteout's missing parents).
 *
 * A parent that is a symlink of a lower layer is followed inside the root (L6), as in containerd and
 * umoci, unless this layer hides that symlink: with `b/` and `b/.wh..wh..opq` docker says that a
 * directory takes the place of symlink `b`, not that what `b` led to is to be emptied. Symlinks of
 * this layer are not followed; containerd and umoci read the archive in order, and follow them if
 * they came before.
 */
export function applyWhiteouts(tree: MergeTree, paths: Iterable<ByteString>): void {
  const removals: { directory: DirectoryNode; name: ByteString | undefined }[] = [];
  let hidden: LayerPaths | undefined;
  const isHidden = (path: ByteString) => {
    hidden ??= new LayerPaths(paths);
    return hidden.hides(path);
  };
  for (const path of paths) {
    const role = roleOf(path);
    if (role.kind !== 'whiteout' && role.kind !== 'opaque') continue;
    const directory = tree.findVisible(role.parent, isHidden)?.directory;
    if (directory === undefined) continue;
    removals.push({ directory, name: role.kind === 'whiteout' ? role.name : undefined });
  }
  for (const { directory, name } of removals) {
    if (name === undefined) directory.children.clear();
    else directory.children.delete(name);
  }
  tree.forgetPlaces();
}

/** What one layer puts in the place of lower ones. Only made for layers that need it: few do. */
class LayerPaths {
  readonly #replaced = new Set<string>();
  readonly #removed = new Set<string>();
  readonly #opaque = new Set<string>();

  constructor(paths: Iterable<ByteString>) {
    for (const path of paths) {
      const role = roleOf(path);
      if (role.kind === 'content') this.#replaced.add(path);
      if (role.kind === 'opaque') this.#opaque.add(role.parent);
      if (role.kind !== 'whiteout') continue;
      this.#removed.add(role.parent === '' ? role.name : `${role.parent}/${role.name}`);
    }
  }

  /** Whether a symlink of a lower layer at `path` is no longer to be seen. */
  hides(path: ByteString): boolean {
    if (this.#replaced.has(path)) return true;
    for (let at: string = path; ; at = at.slice(0, Math.max(at.lastIndexOf('/'), 0))) {
      if (this.#removed.has(at) || (at !== path && this.#opaque.has(at))) return true;
      if (at === '') return false;
    }
  }
}
