import {
  archive,
  bytes,
  directory,
  entry,
  file,
  hardlink,
  pax,
  symlink,
} from '../support/tar-builder.js';
import type { TortureCase } from './torture-layers.js';

const dir = { type: 'directory' } as const;

function text(content: string) {
  return { type: 'file', content } as const;
}

/** L8 to L10, L13, L14, L22, L23, L30. */
export function replacementCases(): TortureCase[] {
  return [...typeChangeCases(), ...parentCases(), ...rootCases(), ...deviceCases()];
}

function typeChangeCases(): TortureCase[] {
  const lower = archive(
    pax({ 'SCHILY.xattr.user.old': '1' }),
    directory('d/', { mode: 0o700, uid: 1, mtime: 5 }),
    file('d/f', 'kept'),
    file('f', 'file'),
    symlink('l', 'd'),
  );
  return [
    {
      rule: 'L8',
      name: 'a directory over a directory: new attributes, old children',
      layers: [
        lower,
        archive(
          pax({ 'SCHILY.xattr.user.new': '2' }),
          directory('d', { mode: 0o2755, gid: 7, mtime: 9 }),
        ),
      ],
      expected: {
        d: { ...dir, mode: 0o2755, uid: 0, gid: 7, mtime: [9, 0], xattrs: { 'user.new': '2' } },
        'd/f': text('kept'),
        f: text('file'),
        l: { type: 'symlink', target: 'd' },
      },
    },
    {
      rule: 'L9',
      name: 'file to directory, directory to file',
      layers: [lower, archive(directory('f/'), file('f/x', 'in'), file('d', 'flat'))],
      expected: { d: text('flat'), f: dir, 'f/x': text('in'), l: { type: 'symlink', target: 'd' } },
    },
    {
      rule: 'L9',
      name: 'a directory over a symlink to a directory replaces the symlink',
      layers: [lower, archive(directory('l/'), file('l/x', 'in l'))],
      expected: { d: dir, 'd/f': text('kept'), f: text('file'), l: dir, 'l/x': text('in l') },
    },
    {
      rule: 'L9',
      name: 'a symlink over a directory, and entries behind it go where it leads',
      layers: [lower, archive(directory('e/'), symlink('d', '/e'), file('d/x', 'in e'))],
      expected: {
        d: { type: 'symlink', target: '/e' },
        e: dir,
        'e/x': text('in e'),
        f: text('file'),
        l: { type: 'symlink', target: 'd' },
      },
    },
    {
      rule: 'L9',
      name: 'symlink to the root and back to a directory in one layer',
      layers: [
        archive(
          directory('foo/'),
          directory('foo/tmp/'),
          file('foo/tmp/x', '1'),
          symlink('foo', '/'),
          file('foo/tmp/x', '2'),
          directory('foo/'),
          directory('foo/tmp/'),
          file('foo/tmp/x', '3'),
        ),
      ],
      expected: { foo: dir, 'foo/tmp': dir, 'foo/tmp/x': text('3'), tmp: dir, 'tmp/x': text('2') },
    },
    {
      rule: 'L9',
      name: 'an entry below a file is refused',
      layers: [lower, archive(file('f/x', 'below'))],
      expected: /entry "f" is to hold others but is no directory/,
    },
    {
      rule: 'L10',
      name: 'of several entries with one path the last one wins',
      layers: [
        archive(
          file('x', 'first'),
          hardlink('old', 'x'),
          file('x', 'second'),
          directory('y/'),
          file('y/z', 'gone'),
          symlink('y', 'x'),
          directory('t/', { mode: 0o700 }),
          file('t/u', 'kept'),
          directory('./t', { mode: 0o750 }),
        ),
      ],
      expected: {
        x: text('second'),
        old: text('first'),
        y: { type: 'symlink', target: 'x' },
        t: { ...dir, mode: 0o750 },
        't/u': text('kept'),
      },
    },
  ];
}

function parentCases(): TortureCase[] {
  return [
    {
      rule: 'L23',
      name: 'missing parents are made',
      layers: [archive(file('a/b/c/f', 'deep'))],
      expected: {
        a: { ...dir, mode: 0o755, uid: 0, gid: 0 },
        'a/b': dir,
        'a/b/c': { ...dir, mode: 0o755 },
        'a/b/c/f': text('deep'),
      },
    },
    {
      rule: 'L23',
      name: 'an entry for a parent that comes later gives it its attributes',
      layers: [archive(file('a/f', 'x'), directory('a/', { mode: 0o511, uid: 9, mtime: 77 }))],
      expected: { a: { ...dir, mode: 0o511, uid: 9, mtime: [77, 0] }, 'a/f': text('x') },
    },
    {
      rule: 'L23',
      name: 'parents behind symlinks, dead ones too, are made where the links lead',
      layers: [
        archive(symlink('bin', 'usr/bin'), symlink('v', '../../var/./lib/')),
        archive(file('bin/sh', '#!'), file('v/x/y', 'z')),
      ],
      expected: {
        bin: { type: 'symlink', target: 'usr/bin' },
        usr: dir,
        'usr/bin': { ...dir, mode: 0o755 },
        'usr/bin/sh': text('#!'),
        v: { type: 'symlink', target: '../../var/./lib/' },
        var: dir,
        'var/lib': dir,
        'var/lib/x': dir,
        'var/lib/x/y': text('z'),
      },
    },
  ];
}

function rootCases(): TortureCase[] {
  return [
    {
      rule: 'L22',
      name: './ gives the root its attributes, odd slashes mean nothing',
      layers: [
        archive(
          directory('./', { mode: 0o750, uid: 3, gid: 4, mtime: 1234 }),
          directory('./a//'),
          file('/a/./b', 'b'),
          file('.//c', 'c'),
          directory('//d/./e/.'),
        ),
      ],
      expected: {
        '': { ...dir, mode: 0o750, uid: 3, gid: 4, mtime: [1234, 0] },
        a: dir,
        'a/b': text('b'),
        c: text('c'),
        d: dir,
        'd/e': dir,
      },
    },
    {
      rule: 'L22',
      name: 'without an entry the root is 0755 of root',
      layers: [archive(file('a'))],
      expected: { '': { ...dir, mode: 0o755, uid: 0, gid: 0 }, a: text('') },
    },
    {
      rule: 'L22',
      name: 'an entry without a name is the root',
      layers: [archive(directory('', { mode: 0o711 }), file('a'))],
      expected: { '': { ...dir, mode: 0o711 }, a: text('') },
    },
    ...['.', '/', '', './/.'].map((name) => ({
      rule: 'L22',
      name: `a symlink named "${name}" is refused`,
      layers: [archive(symlink(name, '/etc'))],
      expected: /makes a symlink of the root/,
    })),
    ...['../x', 'a/../b', 'a/..', '..', '/../../x'].map((name) => ({
      rule: 'L7',
      name: `the path "${name}" is refused`,
      layers: [archive(file(name, 'x'))],
      expected: /has a "\.\." component/,
      ...(!name.endsWith('..') && { umociDiffers: 'takes the path apart and stays in the root' }),
    })),
  ];
}

function deviceCases(): TortureCase[] {
  return [
    {
      rule: 'L13',
      name: 'devices and FIFOs; 0:0 is a device, no whiteout',
      layers: [
        archive(file('zero', 'lower'), file('kept', 'lower')),
        archive(
          entry({ name: 'null', type: '3', mode: 0o666, major: 1, minor: 3 }),
          entry({ name: 'disk', type: '4', mode: 0o660, major: 4095, minor: 1048575 }),
          entry({ name: 'zero', type: '3', mode: 0, major: 0, minor: 0 }),
          entry({ name: 'pipe', type: '6', mode: 0o600 }),
        ),
      ],
      expected: {
        null: { type: 'character', mode: 0o666, device: [1, 3] },
        disk: { type: 'block', device: [4095, 1048575] },
        zero: { type: 'character', device: [0, 0] },
        pipe: { type: 'fifo', mode: 0o600 },
        kept: text('lower'),
      },
    },
    {
      rule: 'L13',
      name: 'a device number that Linux cannot hold is refused',
      layers: [archive(entry({ name: 'big', type: '4', major: 4096, minor: 0 }))],
      expected: /a device is 4096:0/,
      umociDiffers: 'cuts the number off',
    },
    {
      rule: 'L14',
      name: 'xattrs of overlayfs are kept as data',
      layers: [
        archive(
          pax({
            'SCHILY.xattr.trusted.overlay.opaque': 'y',
            'SCHILY.xattr.trusted.overlay.redirect': '/etc',
            'SCHILY.xattr.user.overlay.whiteout': '',
          }),
          directory('d/'),
        ),
      ],
      expected: {
        d: {
          ...dir,
          xattrs: {
            'trusted.overlay.opaque': 'y',
            'trusted.overlay.redirect': '/etc',
            'user.overlay.whiteout': '',
          },
        },
      },
      umociDiffers: 'drops them',
    },
    {
      rule: 'L30',
      name: 'setuid, setgid and sticky bits; bits beyond 07777 mean nothing',
      layers: [
        archive(
          file('su', 'x', { mode: 0o4755 }),
          file('sg', 'x', { mode: 0o2711 }),
          directory('tmp/', { mode: 0o1777 }),
          file('odd', 'x', { mode: bytes('0120644\0') }),
        ),
      ],
      expected: {
        su: { ...text('x'), mode: 0o4755 },
        sg: { ...text('x'), mode: 0o2711 },
        tmp: { ...dir, mode: 0o1777 },
        odd: { ...text('x'), mode: 0o644 },
      },
    },
  ];
}
