import t from 'tap';
import type { DirectoryNode, TreeNode } from '../../src/image/tree.js';
import { ErofsImage } from '../../src/metadata/erofs-image.js';
import { writeErofs } from '../../src/metadata/erofs-writer.js';
import { toTree } from '../../src/metadata/to-tree.js';
import fc from '../support/properties.js';
import { flatten, randomTree } from './random-trees.js';
import { tortureTree } from './torture-tree.js';
import { bytes, directory, file } from './tree-builders.js';

t.test('a tree comes back as it was', async (t) => {
  const torture = tortureTree();
  t.same(flatten(toTree(ErofsImage.parse(writeErofs(torture)))), flatten(torture));
  fc.assert(
    fc.property(randomTree, (tree) => {
      const found = flatten(toTree(ErofsImage.parse(writeErofs(tree))));
      return JSON.stringify(found) === JSON.stringify(flatten(tree));
    }),
    { numRuns: 300 },
  );
});

t.test('the same tree gives the same bytes, whatever order its maps have', async (t) => {
  fc.assert(
    fc.property(randomTree, (tree) => writeErofs(tree).equals(writeErofs(reversed(tree)))),
    { numRuns: 100 },
  );
  const other = writeErofs(directory({ a: file('a') }));
  t.notOk(writeErofs(directory({ a: file('b') })).equals(other));
});

/** A copy whose maps were filled in the opposite order. */
function reversed(root: DirectoryNode): DirectoryNode {
  const copies = new Map<TreeNode, TreeNode>();
  function copy<T extends TreeNode>(node: T): T {
    return { ...node, xattrs: new Map([...node.xattrs].reverse()) };
  }
  const top = { ...copy(root), children: new Map() };
  const pending = [{ from: root, to: top }];
  for (const { from, to } of pending) {
    for (const [name, node] of [...from.children].reverse()) {
      if (node.type === 'directory') {
        const below = { ...copy(node), children: new Map() };
        to.children.set(name, below);
        pending.push({ from: node, to: below });
      } else {
        const again = copies.get(node) ?? copy(node);
        copies.set(node, again);
        to.children.set(name, again);
      }
    }
  }
  return top;
}

t.test('a tree of any depth is written and read', async (t) => {
  let tree = directory({ bottom: file('x') });
  for (let i = 0; i < 20_000; i++) tree = directory({ d: tree });
  const image = ErofsImage.parse(writeErofs(tree));
  t.equal(image.inodeCount, 20_002);
  let depth = 0;
  for (let at: DirectoryNode | undefined = toTree(image); at !== undefined; depth++) {
    const next: TreeNode | undefined = at.children.get(bytes('d'));
    at = next?.type === 'directory' ? next : undefined;
  }
  t.equal(depth, 20_001);
});

t.test('xattrs that many inodes share are written once', async (t) => {
  const label = {
    'security.selinux': 'system_u:object_r:container_file_t:s0:c123,c456'.repeat(5),
  };
  const children = Object.fromEntries(
    Array.from({ length: 200 }, (_, i) => [`${i}`, file('', { xattrs: label })]),
  );
  const image = writeErofs(directory(children));
  t.ok(image.length < 200 * 200, `${image.length} bytes`);
  const read = ErofsImage.parse(image);
  const nid = read.lookup(read.rootNid, bytes('17')) ?? 0;
  t.equal(read.xattrs(nid).get(bytes('security.selinux'))?.toString(), label['security.selinux']);
});

t.test('xattrs of namespaces that Linux does not have are left out', async (t) => {
  const xattrs = {
    'com.apple.quarantine': 'x',
    'user.': 'x',
    user: 'x',
    'system.posix_acl_accessory': 'x',
    'user.kept': 'y',
  };
  const image = ErofsImage.parse(writeErofs(directory({}, { xattrs })));
  t.same([...image.xattrs(image.rootNid).keys()], ['user.kept']);
});
