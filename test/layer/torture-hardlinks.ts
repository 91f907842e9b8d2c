import { archive, directory, file, hardlink, symlink } from '../support/tar-builder.js';
import type { TortureCase } from './torture-layers.js';

const dir = { type: 'directory' } as const;

function text(content: string) {
  return { type: 'file', content } as const;
}

/** L11 and L12. */
export function hardlinkCases(): TortureCase[] {
  return [...sameLayerCases(), ...lowerLayerCases()];
}

function sameLayerCases(): TortureCase[] {
  return [
    {
      rule: 'L11',
      name: 'hard links, links to links, and absolute targets',
      layers: [
        archive(
          directory('d/'),
          file('d/a', 'one', { mode: 0o600, uid: 5 }),
          hardlink('b', 'd/a', { mode: 0o600, uid: 5 }),
          hardlink('d/c', '/b', { mode: 0o600, uid: 5 }),
        ),
      ],
      expected: {
        d: dir,
        'd/a': { ...text('one'), mode: 0o600, uid: 5 },
        b: { ...text('one'), sameInodeAs: 'd/a' },
        'd/c': { ...text('one'), sameInodeAs: 'd/a', mode: 0o600 },
      },
    },
    {
      rule: 'L11',
      name: 'a hard link to a symlink is another name of the symlink',
      layers: [archive(file('f', 'x'), symlink('s', 'f'), hardlink('h', 's'))],
      expected: {
        f: text('x'),
        s: { type: 'symlink', target: 'f' },
        h: { type: 'symlink', target: 'f', sameInodeAs: 's' },
      },
    },
    {
      rule: 'L11',
      name: 'the attributes in a link entry are not those of the inode',
      layers: [
        archive(
          file('f', 'x', { mode: 0o640, mtime: 3 }),
          hardlink('h', 'f', { mode: 0, mtime: 9 }),
        ),
      ],
      expected: {
        f: { ...text('x'), mode: 0o640, mtime: [3, 0] },
        h: { ...text('x'), mode: 0o640, sameInodeAs: 'f' },
      },
    },
    {
      rule: 'L11',
      name: 'links in front of their targets, in chains',
      layers: [archive(hardlink('d/c', 'b'), hardlink('b', 'a'), file('a', 'late'))],
      expected: {
        a: text('late'),
        b: { ...text('late'), sameInodeAs: 'a' },
        d: dir,
        'd/c': { ...text('late'), sameInodeAs: 'a' },
      },
      umociDiffers: 'refuses them, as containerd does',
    },
    {
      rule: 'L11',
      name: 'a link that waits gives way to a later entry with its path',
      layers: [archive(hardlink('b', 'a'), file('b', 'own'), file('a', 'late'))],
      expected: { a: text('late'), b: text('own') },
      umociDiffers: 'refuses it, as containerd does',
    },
    {
      rule: 'L11',
      name: 'a target below a symlink is found in the root',
      layers: [
        archive(
          directory('etc/'),
          file('etc/passwd', 'inside'),
          symlink('up', '../../../../etc'),
          hardlink('mine', 'up/passwd'),
        ),
      ],
      expected: {
        etc: dir,
        'etc/passwd': text('inside'),
        up: { type: 'symlink', target: '../../../../etc' },
        mine: { ...text('inside'), sameInodeAs: 'etc/passwd' },
      },
    },
    {
      rule: 'L11',
      name: 'a link to itself changes nothing',
      layers: [archive(file('a', 'x'), hardlink('a', './a'))],
      expected: { a: text('x') },
      umociDiffers: 'removes the file first and fails, as containerd does',
    },
    {
      rule: 'L11',
      name: 'a link to what never comes is refused',
      layers: [archive(hardlink('a', 'missing'))],
      expected: /is a hard link to "missing", which does not exist/,
    },
    {
      rule: 'L11',
      name: 'links that only lead to each other are refused',
      layers: [archive(hardlink('a', 'b'), hardlink('b', 'a'))],
      expected: /is a hard link to "[ab]", which does not exist/,
    },
    {
      rule: 'L11',
      name: 'a link to a directory is refused',
      layers: [archive(directory('d/'), hardlink('a', 'd'))],
      expected: /entry "a" is a hard link to a directory/,
    },
    {
      rule: 'L11',
      name: 'a link to the root is refused',
      layers: [archive(hardlink('a', '/'))],
      expected: /entry "a" is a hard link to a directory/,
    },
    {
      rule: 'L11',
      name: 'a link to a path with .. is refused',
      layers: [archive(hardlink('a', '../../etc/passwd'))],
      expected: /has a "\.\." component/,
    },
  ];
}

function lowerLayerCases(): TortureCase[] {
  const lower = archive(file('a', 'low', { mode: 0o755, uid: 8 }), hardlink('b', 'a'));
  return [
    {
      rule: 'L12',
      name: 'a hard link to a file of a lower layer shares its inode',
      layers: [lower, archive(hardlink('c', 'b'))],
      expected: {
        a: { ...text('low'), mode: 0o755, uid: 8 },
        b: { ...text('low'), sameInodeAs: 'a' },
        c: { ...text('low'), sameInodeAs: 'a', uid: 8 },
      },
    },
    {
      rule: 'L12',
      name: 'replacing one name of a group leaves the others',
      layers: [lower, archive(file('a', 'new'), hardlink('c', 'a'))],
      expected: { a: text('new'), b: text('low'), c: { ...text('new'), sameInodeAs: 'a' } },
    },
    {
      rule: 'L12',
      name: 'whiting out one name of a group leaves the others',
      layers: [lower, archive(file('.wh.a'), hardlink('c', 'b'))],
      expected: { b: text('low'), c: { ...text('low'), sameInodeAs: 'b' } },
    },
    {
      rule: 'L12',
      name: 'a hard link to what the same layer whites out is refused',
      layers: [lower, archive(file('.wh.a'), file('.wh.b'), hardlink('c', 'b'))],
      expected: /is a hard link to "b", which does not exist/,
    },
  ];
}
