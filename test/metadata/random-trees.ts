import type { ByteString } from '../../src/byte-string.js';
import { type Digest, digestOf } from '../../src/digest.js';
import type { Attributes, DirectoryNode, TreeNode } from '../../src/image/tree.js';
import fc from '../support/properties.js';

/** Random trees with every type, hard links, odd names and the xattrs that need escaping. */
const names = fc
  .uint8Array({ minLength: 1, maxLength: 255 })
  .map((bytes) => Buffer.from(bytes).toString('latin1').replace(/[\0/]/g, '_'))
  .filter((name) => name !== '.' && name !== '..') as fc.Arbitrary<ByteString>;
const shortNames = fc.constantFrom('a', 'b', 'c', '!', '-', '\xff') as fc.Arbitrary<ByteString>;
const name = fc.oneof({ weight: 3, arbitrary: shortNames }, { weight: 1, arbitrary: names });

const xattrName = fc.constantFrom(
  'user.a',
  'security.capability',
  'trusted.x',
  'trusted.overlay',
  'trusted.overlay.',
  'trusted.overlay.opaque',
  'trusted.overlay.whiteout',
  'trusted.overlay.whiteouts',
  'trusted.overlay.metacopy',
  'trusted.overlay.redirect',
  'trusted.overlay.thinfs.added',
  'trusted.overlay.overlay.whiteout',
  'system.posix_acl_access',
) as fc.Arbitrary<ByteString>;
const xattrValue = fc
  .oneof(fc.uint8Array({ maxLength: 40 }), fc.constantFrom(new Uint8Array(300), Buffer.from('x')))
  .map((bytes) => Buffer.from(bytes));
const xattrs = fc
  .array(fc.tuple(xattrName, xattrValue), { maxLength: 4 })
  .map((pairs) => new Map(pairs));

const attributes: fc.Arbitrary<Attributes> = fc.record({
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.integer({ min: 0, max: 0xffffffff }),
  gid: fc.integer({ min: 0, max: 0xffffffff }),
  mtime: fc.record({
    seconds: fc.oneof(fc.integer(), fc.integer({ min: -(2 ** 40), max: 2 ** 40 })),
    nanoseconds: fc.integer({ min: 0, max: 999_999_999 }),
  }),
  xattrs: fc.oneof({ weight: 3, arbitrary: fc.constant(new Map()) }, xattrs),
});

const content = fc.integer({ min: 0, max: 20 }).map((n): Digest => digestOf(Buffer.from(`${n}`)));
const fileBody = fc.oneof(
  fc.constant({ type: 'file' as const, size: 0, content: digestOf(Buffer.alloc(0)) }),
  fc.record({
    type: fc.constant('file' as const),
    size: fc.integer({ min: 1, max: 2 ** 42 }),
    content,
  }),
);
const linkBody = fc.record({
  type: fc.constant('symlink' as const),
  target: fc.oneof(
    names,
    fc.integer({ min: 1, max: 4095 }).map((n) => 't'.repeat(n)),
  ),
}) as fc.Arbitrary<{ type: 'symlink'; target: ByteString }>;
const deviceBody = fc.record({
  type: fc.constantFrom('character' as const, 'block' as const),
  device: fc.record({
    major: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 4095 })),
    minor: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 1_048_575 })),
  }),
});
const plainBody = fc.record({ type: fc.constantFrom('fifo' as const, 'socket' as const) });

const leaf: fc.Arbitrary<TreeNode> = fc
  .tuple(attributes, fc.oneof(fileBody, linkBody, deviceBody, plainBody))
  .map(([common, body]): TreeNode => ({ ...common, ...body }));

/** What to do one after another: a new leaf, a new directory, or one more link to an old leaf. */
const step = fc.record({
  at: fc.nat(),
  name,
  node: fc.oneof(
    { weight: 4, arbitrary: leaf },
    { weight: 2, arbitrary: attributes.map((common) => emptyDirectory(common)) },
    { weight: 1, arbitrary: fc.nat() },
  ),
});

export const randomTree: fc.Arbitrary<DirectoryNode> = fc
  .tuple(attributes, fc.array(step, { maxLength: 60 }))
  .map(([common, steps]) => {
    const root = emptyDirectory(common);
    const directories = [root];
    const leaves: TreeNode[] = [];
    for (const { at, name, node } of steps) {
      const parent = directories[at % directories.length] ?? root;
      const added = typeof node === 'number' ? leaves[node % leaves.length] : node;
      if (added === undefined || parent.children.has(name)) continue;
      parent.children.set(name, added);
      if (added.type === 'directory') directories.push(added);
      else leaves.push(added);
    }
    return root;
  });

function emptyDirectory(common: Attributes): DirectoryNode {
  return { ...common, type: 'directory', children: new Map() };
}

/**
 * A tree as something that `t.same` compares: paths to inodes, with hard links as the number of the
 * first path that has the inode.
 */
export function flatten(root: DirectoryNode): unknown[] {
  const first = new Map<TreeNode, number>();
  const places: [string, TreeNode][] = [['', root]];
  for (const [path, node] of places) {
    first.set(node, first.get(node) ?? first.size);
    if (node.type !== 'directory') continue;
    for (const [name, child] of [...node.children].sort(([a], [b]) => (a < b ? -1 : 1))) {
      places.push([`${path}/${name}`, child]);
    }
  }
  return places.map(([path, node]) => {
    const { xattrs, ...rest } = node;
    const values = [...xattrs].map(([key, value]) => `${key}=${value.toString('hex')}`);
    const plain = { ...rest, ...(node.type === 'directory' && { children: node.children.size }) };
    return [path, first.get(node), plain, values.sort((a, b) => (a < b ? -1 : 1))];
  });
}
