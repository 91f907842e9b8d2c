import type { ByteString } from '../../src/byte-string.js';
import { digestHex } from '../../src/digest.js';
import type { DirectoryNode, TreeNode } from '../../src/image/tree.js';
import { formatBits } from '../../src/metadata/erofs-node-type.js';
import type { Shown } from './kernel-view.js';

/** Where a tree is seen: in the EROFS mount itself, or through the overlay above it. */
export type Seen = 'erofs' | 'overlay';

/** Without what depends on the place of an inode in the image; `group` stands for the inode. */
export type Expected = Omit<Shown, 'inode'> & { readonly group: number };

/** What the kernel has to show of a tree, written without any of the writer's code paths. */
export function expectedView(root: DirectoryNode, seen: Seen): Map<string, Expected> {
  const groups = new Map<TreeNode, number>();
  const links = new Map<TreeNode, number>();
  const places: [string, TreeNode][] = [['', root]];
  for (const [path, node] of places) {
    groups.set(node, groups.get(node) ?? groups.size);
    links.set(node, (links.get(node) ?? 0) + 1);
    if (node.type !== 'directory') continue;
    const prefix = path === '' ? '' : `${path}/`;
    for (const [name, child] of node.children) places.push([prefix + name, child]);
  }
  return new Map(
    places.map(([path, node]) => {
      const group = groups.get(node) ?? -1;
      return [path, { ...show(path, node, seen), group, nlink: nlinkOf(node, links) }];
    }),
  );
}

function show(path: string, node: TreeNode, seen: Seen): Omit<Expected, 'group' | 'nlink'> {
  const { seconds, nanoseconds } = node.mtime;
  const whiteout = isWhiteout(node);
  const isDevice = !whiteout && (node.type === 'character' || node.type === 'block');
  return {
    path,
    mode: formatBits(whiteout ? 'file' : node.type) | node.mode,
    uid: node.uid,
    gid: node.gid,
    mtime: `${BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds)}`,
    size: node.type === 'file' ? node.size : node.type === 'symlink' ? node.target.length : 0,
    device: isDevice ? `${node.device.major}:${node.device.minor}` : '',
    target: node.type === 'symlink' ? node.target : '',
    xattrs: Object.fromEntries([...xattrsOf(node, seen)].sort(([a], [b]) => (a < b ? -1 : 1))),
  };
}

function isWhiteout(node: TreeNode): boolean {
  return node.type === 'character' && node.device.major === 0 && node.device.minor === 0;
}

function nlinkOf(node: TreeNode, links: ReadonlyMap<TreeNode, number>): number {
  if (node.type !== 'directory') return links.get(node) ?? 0;
  return 2 + [...node.children.values()].filter(({ type }) => type === 'directory').length;
}

function xattrsOf(node: TreeNode, seen: Seen): Map<string, string> {
  const own = (name: string): string =>
    seen === 'erofs' ? name.replace(/^trusted\.overlay\./, 'trusted.overlay.overlay.') : name;
  const xattrs = new Map<string, string>();
  const added = addedTo(node).filter(
    ([name]) => !node.xattrs.has(`trusted.overlay.${name}` as ByteString),
  );
  for (const [name, value] of node.xattrs) xattrs.set(own(name), value.toString('hex'));
  for (const [name, value] of added) xattrs.set(own(`trusted.overlay.${name}`), hexOf(value));
  if (seen === 'overlay') return xattrs;
  if (addedTo(node).length > 0) {
    xattrs.set('trusted.overlay.thinfs.added', hexOf(added.map(([name]) => name).join(',')));
  }
  if (node.type === 'file' && node.size > 0) {
    const hex = digestHex(node.content);
    xattrs.set('trusted.overlay.metacopy', '');
    xattrs.set('trusted.overlay.redirect', hexOf(`/${hex.slice(0, 2)}/${hex}`));
  }
  return xattrs;
}

function addedTo(node: TreeNode): [string, string][] {
  if (isWhiteout(node)) return [['whiteout', '']];
  const holds = node.type === 'directory' && [...node.children.values()].some(isWhiteout);
  if (!holds) return [];
  return [
    ['opaque', 'x'],
    ['whiteouts', ''],
  ];
}

function hexOf(text: string): string {
  return Buffer.from(text).toString('hex');
}
