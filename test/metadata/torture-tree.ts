import type { ByteString } from '../../src/byte-string.js';
import type { DirectoryNode, TreeNode } from '../../src/image/tree.js';
import { device, directory, fifo, file, largeFile, socket, symlink } from './tree-builders.js';

const TiB = 2 ** 40;

/** Every shape that has its own way in the format, as facts/kernel-mount.md section 9.3 lists them. */
export function tortureTree(): DirectoryNode {
  const linked = file('linked', { mtime: { seconds: 5, nanoseconds: 999_999_999 } });
  const linkedSymlink = symlink('nowhere');
  return directory(
    {
      many: manyNames(3000),
      long: directory(
        Object.fromEntries(range(200).map((i) => [`${i}`.padStart(255, '\xe9'), file(`${i}`)])),
      ),
      odd: oddNames(),
      tails: directory(tails(linked)),
      'tails with xattrs': directory(tailsWithXattrs(linked)),
      links: directory(
        Object.fromEntries(
          [1, 2, 31, 32, 33, 59, 60, 61, 1000, 3900, 4000, 4032, 4033, 4064, 4065, 4095].map(
            (n) => [`${n}`, symlink('t'.repeat(n))],
          ),
        ),
      ),
      devices: devices(),
      files: files(),
      attributes: oddAttributes(),
      xattrs: oddXattrs(),
      one: directory({ linked, symlink: linkedSymlink }),
      other: directory({ linked, again: linked, symlink: linkedSymlink }),
      nested: nestedOverlay(),
      deep: deepTree(500),
    },
    { mode: 0o755, xattrs: { 'user.root': 'yes' } },
  );
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

export function manyNames(count: number): DirectoryNode {
  return directory(Object.fromEntries(range(count).map((i) => [`name ${i}`, file(`${i % 7}`)])));
}

function oddNames(): DirectoryNode {
  const names = [
    '!',
    '-',
    '...',
    '..a',
    '.a',
    '\n',
    ' ',
    '\\',
    '"',
    '\x01',
    '\xff',
    '\xc3\x28',
    '\xf0',
  ];
  return directory(Object.fromEntries(names.map((name) => [name, file(name)])));
}

/** A directory whose records take `size` bytes: `.` and `..` take 27. */
function directoryOfSize(size: number, node: TreeNode, xattr: string): DirectoryNode {
  const children = new Map<ByteString, TreeNode>();
  let left = size - 27;
  for (let i = 0; left >= 15; i++) {
    const length = left - 12 <= 255 ? left - 12 : Math.min(200, left - 12 - 15);
    children.set(`${i}`.padEnd(length, '_') as ByteString, node);
    left -= 12 + length;
  }
  return directory(children, xattr === '' ? {} : { xattrs: { 'user.x': xattr } });
}

function tails(node: TreeNode): Record<string, TreeNode> {
  const near = [...range(140).map((i) => 4000 + i), ...range(140).map((i) => 8090 + i)];
  const sizes = [27, ...range(250).map((i) => 42 + i * 16), ...near];
  return Object.fromEntries(sizes.map((size) => [`${size}`, directoryOfSize(size, node, '')]));
}

function tailsWithXattrs(node: TreeNode): Record<string, TreeNode> {
  const sizes = [27, 100, 4000, 4060, 4064, 4065, 4090];
  const lengths = [1, 5, 9, 13, 17, 21, 25, 29, 33, 200, 4000, 5000];
  return Object.fromEntries(
    sizes.flatMap((size) =>
      lengths.map((n) => [`${size} ${n}`, directoryOfSize(size, node, `${size}`.padEnd(n, 'v'))]),
    ),
  );
}

function devices(): DirectoryNode {
  return directory({
    null: device('character', 1, 3),
    high: device('block', 300, 70_000),
    highest: device('character', 4095, 1_048_575),
    'block 0:0': device('block', 0, 0),
    fifo: fifo(),
    socket: socket(),
  });
}

function files(): DirectoryNode {
  const small = [0, 1, 4095, 4096, 4097, 65_536].map((n) => [`${n}`, file('x'.repeat(n))]);
  const sizes = [2 ** 32 - 1, 2 ** 32, 10 * 2 ** 30, TiB, 5 * TiB];
  return directory({
    ...Object.fromEntries(small),
    ...Object.fromEntries(sizes.map((size) => [`${size}`, largeFile(size)])),
    'same content': file('x', { mode: 0o755, uid: 7 }),
    'empty with xattr': file('', { xattrs: { 'user.a': 'b' } }),
  });
}

function oddAttributes(): DirectoryNode {
  return directory({
    ids: file('', { uid: 4_000_000_000, gid: 4_294_967_294 }),
    setuid: file('a', { mode: 0o4755 }),
    setgid: directory({}, { mode: 0o2775 }),
    sticky: directory({}, { mode: 0o1777 }),
    none: file('', { mode: 0 }),
    1960: file('', { mtime: { seconds: -315_619_200, nanoseconds: 1 } }),
    'before 1970': file('', { mtime: { seconds: -1, nanoseconds: 999_999_999 } }),
    2100: file('', { mtime: { seconds: 4_102_444_800, nanoseconds: 123_456_789 } }),
    2500: directory({}, { mtime: { seconds: 16_725_225_600, nanoseconds: 0 } }),
  });
}

/** u::rwx, u:1000:r--, g::r-x, m::r-x, o::--- as Linux keeps it. */
const accessControlList = Buffer.from(
  [
    '02000000',
    '01000700ffffffff',
    '02000400e8030000',
    '04000500ffffffff',
    '10000500ffffffff',
    '20000000ffffffff',
  ].join(''),
  'hex',
);
const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');

function oddXattrs(): DirectoryNode {
  const label = 'system_u:object_r:container_file_t:s0:c123,c456';
  const acl = { 'system.posix_acl_access': accessControlList };
  const many = Object.fromEntries(range(300).map((i) => [`user.many-${i}`, `${i}`]));
  return directory({
    acl: file('a', { mode: 0o750, xattrs: acl }),
    'acl directory': directory(
      {},
      { mode: 0o750, xattrs: { ...acl, 'system.posix_acl_default': accessControlList } },
    ),
    capability: file('ping', { xattrs: { 'security.capability': capability } }),
    empty: file('', { xattrs: { 'user.empty': '' } }),
    binary: file('', { xattrs: { 'user.binary': Buffer.from([0, 1, 255, 0, 10]) } }),
    large: file('a', {
      xattrs: { 'user.large': 'v'.repeat(1500), 'user.larger': 'w'.repeat(5000) },
    }),
    largest: file('a', { xattrs: { 'user.largest': 'v'.repeat(65_535) } }),
    many: file('a', { xattrs: many }),
    'many again': directory({}, { xattrs: many }),
    ...Object.fromEntries(
      range(50).map((i) => [`label ${i}`, file(`${i}`, { xattrs: { 'security.selinux': label } })]),
    ),
    symlink: symlink('x', { xattrs: { 'trusted.of-link': 'v' } }),
  });
}

/** What an image that holds the layers of another container system looks like. */
function nestedOverlay(): DirectoryNode {
  return directory({
    'with whiteouts': directory({
      gone: device('character', 0, 0),
      'gone too': device('character', 0, 0, { mode: 0 }),
      here: file('here'),
    }),
    opaque: directory({}, { xattrs: { 'trusted.overlay.opaque': 'y' } }),
    'opaque with whiteout': directory(
      { gone: device('character', 0, 0) },
      { xattrs: { 'trusted.overlay.opaque': 'y', 'user.other': 'z' } },
    ),
    redirect: directory({}, { xattrs: { 'trusted.overlay.redirect': '/etc' } }),
    metacopy: file('not these', {
      xattrs: { 'trusted.overlay.metacopy': '', 'trusted.overlay.redirect': '/00/secret' },
    }),
    'escaped before': file('', { xattrs: { 'trusted.overlay.overlay.opaque': 'y' } }),
    'xattr whiteout': file('', { xattrs: { 'trusted.overlay.whiteout': '' } }),
  });
}

function deepTree(depth: number): DirectoryNode {
  let tree = directory({ bottom: file('bottom') });
  for (let i = 0; i < depth; i++) tree = directory({ d: tree });
  return tree;
}
