import t from 'tap';
import type { DirectoryNode } from '../../src/image/tree.js';
import { diffImages } from '../../src/metadata/diff-images.js';
import { ErofsImage } from '../../src/metadata/erofs-image.js';
import { writeErofs } from '../../src/metadata/erofs-writer.js';
import { resolvePath } from '../../src/metadata/resolve-path.js';
import { toTree } from '../../src/metadata/to-tree.js';
import fc from '../support/properties.js';
import { flatten, randomTree } from './random-trees.js';
import { bytes, device, directory, file, symlink } from './tree-builders.js';

function parse(tree: DirectoryNode): ErofsImage {
  return ErofsImage.parse(writeErofs(tree));
}

function diff(before: DirectoryNode, after: DirectoryNode): string[] {
  return [...diffImages(parse(before), parse(after))].map((one) =>
    one.kind === 'changed' ? `${one.path}: ${one.what.join(' ')}` : `${one.kind} ${one.path}`,
  );
}

t.test('each field that differs is named', async (t) => {
  const before = directory({
    same: file('same', { xattrs: { 'user.a': 'b' } }),
    mode: file('a'),
    owner: file('a'),
    group: file('a'),
    seconds: file('a'),
    nanoseconds: directory(),
    content: file('abc'),
    size: file('abc'),
    target: symlink('a'),
    device: device('block', 1, 2),
    value: file('a', { xattrs: { 'user.a': 'b' } }),
    name: file('a', { xattrs: { 'user.a': 'b' } }),
    type: file('a', { mode: 0o644 }),
  });
  const after = directory({
    same: file('same', { xattrs: { 'user.a': 'b' } }),
    mode: file('a', { mode: 0o4644 }),
    owner: file('a', { uid: 1 }),
    group: file('a', { gid: 1 }),
    seconds: file('a', { mtime: { seconds: 1, nanoseconds: 0 } }),
    nanoseconds: directory({}, { mtime: { seconds: 1_700_000_000, nanoseconds: 1 } }),
    content: file('abd'),
    size: file('abcd'),
    target: symlink('b'),
    device: device('block', 1, 3),
    value: file('a', { xattrs: { 'user.a': 'c' } }),
    name: file('a', { xattrs: { 'user.b': 'b' } }),
    type: directory({}, { mode: 0o644 }),
  });
  t.same(diff(before, after), [
    'content: content',
    'device: device',
    'group: owner',
    'mode: mode',
    'name: xattrs',
    'nanoseconds: mtime',
    'owner: owner',
    'seconds: mtime',
    'size: size content',
    'target: target',
    'type: type',
    'value: xattrs',
  ]);
});

t.test('added and removed subtrees are told in full, in order', async (t) => {
  const before = directory({ a: file(), b: directory({ x: file(), 'x-': file() }), z: file() });
  const after = directory({ a: directory({ in: file() }), c: directory({ y: file() }), z: file() });
  t.same(diff(before, after), [
    'a: type',
    'added a/in',
    'removed b',
    'removed b/x',
    'removed b/x-',
    'added c',
    'added c/y',
  ]);
  t.same(diff(directory({ a: directory({ in: file() }) }), directory({ a: file() })), [
    'a: type',
    'removed a/in',
  ]);
});

t.test('hard links that lead elsewhere are a difference', async (t) => {
  const one = file('x');
  const two = file('x');
  const before = directory({ a: one, b: one, c: two, d: two });
  t.same(diff(before, directory({ a: one, b: two, c: one, d: two })), [
    'b: links',
    'c: links',
    'd: links',
  ]);
  t.same(diff(before, directory({ a: two, b: two, c: one, d: one })), []);
  t.same(diff(before, directory({ a: one, b: file('x'), c: two, d: two })), [
    'a: links',
    'b: links',
  ]);
});

t.test('inode numbers of a difference are of the image that has them', async (t) => {
  const before = parse(directory({ a: file('1'), gone: file() }));
  const after = parse(directory({ a: file('2'), made: file() }));
  const found = new Map([...diffImages(before, after)].map((one) => [`${one.path}`, one]));
  const nidOf = (image: ErofsImage, path: string): number =>
    resolvePath(image, bytes(path), { followLast: false });
  t.match(found.get('a'), { before: nidOf(before, 'a'), after: nidOf(after, 'a') });
  t.match(found.get('gone'), { kind: 'removed', nid: nidOf(before, 'gone') });
  t.match(found.get('made'), { kind: 'added', nid: nidOf(after, 'made') });
});

t.test('an image has no differences to itself, and some to every other', async () => {
  fc.assert(
    fc.property(randomTree, randomTree, (one, other) => {
      const same = JSON.stringify(flatten(one)) === JSON.stringify(flatten(other));
      const copy = toTree(parse(one));
      return diff(one, copy).length === 0 && (diff(one, other).length === 0) === same;
    }),
    { numRuns: 100 },
  );
});
