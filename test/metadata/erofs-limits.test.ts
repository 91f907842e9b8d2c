import t from 'tap';
import type { ByteString } from '../../src/byte-string.js';
import { isThinError } from '../../src/errors.js';
import type { DirectoryNode, TreeNode } from '../../src/image/tree.js';
import { ErofsImage } from '../../src/metadata/erofs-image.js';
import { planErofs, writeErofs } from '../../src/metadata/erofs-writer.js';
import { bytes, device, directory, file, largeFile, symlink } from './tree-builders.js';

function below(node: TreeNode): DirectoryNode {
  return directory({ etc: directory({ 'bad\n': node }) });
}

const refused: [string, TreeNode, RegExp][] = [
  [
    'a uid of 33 bits',
    file('', { uid: 2 ** 32 }),
    /its uid is 4294967296 \(wanted 0 to 4294967295/,
  ],
  ['a negative gid', file('', { gid: -1 }), /its gid is -1/],
  ['a mode with type bits', file('', { mode: 0o100644 }), /its mode is 33188/],
  ['half a second', file('', { mtime: { seconds: 0.5, nanoseconds: 0 } }), /its mtime is 0.5 s/],
  ['too many nanoseconds', file('', { mtime: { seconds: 0, nanoseconds: 1e9 } }), /nanoseconds is/],
  ['a file over 8 TiB', largeFile(2 ** 43 + 1), /its size is 8796093022209/],
  ['an empty link target', symlink(''), /link target has 0 bytes/],
  ['a long link target', symlink('t'.repeat(4096)), /link target has 4096 bytes/],
  ['a link target with NUL', symlink('a\0b'), /link target/],
  ['a major number of 13 bits', device('block', 4096, 0), /its major number is 4096/],
  ['a minor number of 21 bits', device('block', 0, 2 ** 20), /its minor number is 1048576/],
  [
    'a long xattr value',
    file('', { xattrs: { 'user.a': 'v'.repeat(65_536) } }),
    /its xattr user.a/,
  ],
  ['a long xattr name', file('', { xattrs: { [`user.${'n'.repeat(251)}`]: '' } }), /has 256 bytes/],
  [
    'an xattr name that is too long only when it is escaped',
    file('', { xattrs: { [`trusted.overlay.${'n'.repeat(232)}`]: '' } }),
    /has 256 bytes in the image/,
  ],
  [
    'xattrs of more bytes than fit',
    file('', { xattrs: numbered(5, 60_000) }),
    /xattrs take 3\d* bytes/,
  ],
  ['more xattr names than Linux lists', file('', { xattrs: numbered(400, 1) }), /names take/],
];

function numbered(count: number, valueBytes: number): Record<string, string> {
  const all = Array.from({ length: count }, (_, i): [string, string] => [
    `user.${'n'.repeat(200)}${i}`,
    'v'.repeat(valueBytes),
  ]);
  return Object.fromEntries(all);
}

t.test('what the format cannot say is refused by its path', async (t) => {
  for (const [what, node, message] of refused) {
    t.throws(() => writeErofs(below(node)), { code: 'invalid', message }, what);
    t.throws(() => writeErofs(below(node)), { message: /metadata of \/etc\/bad\\n: / }, what);
  }
});

t.test('names that are none are refused', async (t) => {
  for (const name of ['', '.', '..', 'a/b', 'a\0', '\u0100', 'n'.repeat(256)]) {
    const tree = directory(new Map([[name as ByteString, file()]]));
    t.throws(
      () => writeErofs(tree),
      { code: 'invalid', message: /its name/ },
      JSON.stringify(name),
    );
  }
  const linked = file();
  const again = directory({ a: linked, b: directory(new Map([[bytes('x/y'), linked]])) });
  t.throws(() => writeErofs(again), { message: /metadata of \/b\/x\/y: its name/ });
});

t.test('a directory with two names, or inside itself, is refused', async (t) => {
  const twice = directory();
  const two = directory({ a: twice, b: directory({ c: twice }) });
  t.throws(() => writeErofs(two), { code: 'invalid', message: /of \/b\/c: .*also at \/a/ });
  const cycle = directory();
  cycle.children.set(bytes('again'), cycle);
  t.throws(() => writeErofs(cycle), { code: 'invalid', message: /of \/again: .*also at \/ / });
});

t.test('an image of more than 4 GiB is refused', async (t) => {
  const large = file('', { xattrs: { 'user.a': 'v'.repeat(65_535) } });
  const names = Array.from({ length: 66_000 }, (_, i) => bytes(`${i}`));
  const tree = directory(new Map(names.map((name) => [name, { ...large }])));
  t.throws(() => planErofs(tree), { code: 'invalid', message: /would have 43\d{8} bytes/ });
});

t.test('the largest of everything is taken', async (t) => {
  const extreme = directory({
    ['n'.repeat(255)]: file('', { uid: 2 ** 32 - 1, gid: 2 ** 32 - 1, mode: 0o7777 }),
    eight: largeFile(2 ** 43),
    far: file('', { mtime: { seconds: Number.MAX_SAFE_INTEGER, nanoseconds: 999_999_999 } }),
    past: file('', { mtime: { seconds: Number.MIN_SAFE_INTEGER, nanoseconds: 0 } }),
    value: file('', { xattrs: { 'user.a': 'v'.repeat(65_535) } }),
    name: file('', { xattrs: { [`user.${'n'.repeat(250)}`]: '' } }),
  });
  const image = ErofsImage.parse(writeErofs(extreme));
  for (const [name, node] of extreme.children) {
    const inode = image.inode(image.lookup(image.rootNid, name) ?? 0);
    t.match(inode, { mode: node.mode, uid: node.uid, gid: node.gid, mtime: node.mtime }, name);
  }
});

t.test('reading an inode as another type is invalid, not corrupt', async (t) => {
  const image = ErofsImage.parse(writeErofs(directory({ a: file('x'), l: symlink('a') })));
  const nid = image.lookup(image.rootNid, bytes('a')) ?? 0;
  for (const wrong of [
    () => image.readdir(nid),
    () => image.lookup(nid, bytes('b')),
    () => image.readlink(nid),
    () => image.readlink(image.rootNid),
  ]) {
    try {
      wrong();
      t.fail('it should have thrown');
    } catch (error) {
      t.ok(isThinError(error, 'invalid'));
    }
  }
});
