import {
  archive,
  directory,
  entry,
  file,
  hardlink,
  pax,
  symlink,
  usualTime,
} from '../support/tar-builder.js';
import type { TortureCase } from './torture-layers.js';

const dir = { type: 'directory' } as const;

function text(content: string) {
  return { type: 'file', content } as const;
}

/** L15 to L17: what PAX headers say. */
export function paxCases(): TortureCase[] {
  return [...xattrCases(), ...overrideCases(), ...malformedCases(), ...globalCases()];
}

/** `cap_net_raw+ep` as setcap writes it (revision 2). */
const capability = '\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0';

function xattrCases(): TortureCase[] {
  return [
    {
      rule: 'L15',
      name: 'SCHILY.xattr is raw bytes, LIBARCHIVE.xattr base64; the raw form wins',
      layers: [
        archive(
          pax({
            'SCHILY.xattr.security.capability': capability,
            'SCHILY.xattr.user.binary': 'a\0b\n\xff=',
            'SCHILY.xattr.user.empty': '',
            'SCHILY.xattr.user.both': 'raw',
            'LIBARCHIVE.xattr.user.both': Buffer.from('base').toString('base64'),
            'LIBARCHIVE.xattr.user.with%25percent': Buffer.from('\0\x01').toString('base64'),
            'LIBARCHIVE.xattr.user.unpadded': 'YWI',
          }),
          file('f', 'x'),
          file('g', 'y'),
        ),
      ],
      expected: {
        f: {
          ...text('x'),
          xattrs: {
            'security.capability': capability,
            'user.binary': 'a\0b\n\xff=',
            'user.empty': '',
            'user.both': 'raw',
            'user.with%percent': '\0\x01',
            'user.unpadded': 'ab',
          },
        },
        g: { ...text('y'), xattrs: {} },
      },
      umociDiffers: 'does not read LIBARCHIVE.xattr',
    },
    {
      rule: 'L15',
      name: 'a value that is no base64 is refused',
      layers: [archive(pax({ 'LIBARCHIVE.xattr.user.x': 'a*b' }), file('f'))],
      expected: /xattr "user\.x" is no base64/,
      umociDiffers: 'does not read LIBARCHIVE.xattr',
    },
    {
      rule: 'L15',
      name: 'a value that Linux cannot hold is refused',
      layers: [archive(pax({ 'SCHILY.xattr.user.x': 'v'.repeat(65_537) }), file('f'))],
      expected: /xattr "user\.x" has 65537 bytes/,
    },
    {
      rule: 'L15',
      name: 'an xattr without a name is refused',
      layers: [archive(pax({ 'SCHILY.xattr.': 'v' }), file('f'))],
      expected: /an xattr name has 0 bytes/,
    },
  ];
}

function overrideCases(): TortureCase[] {
  const hidden = archive(file('smuggled', 'never seen'));
  return [
    {
      rule: 'L16',
      name: 'PAX records override the header',
      layers: [
        archive(
          pax({ path: 'right/name', size: '5', uid: '70000', gid: '80000', mtime: '12.000000034' }),
          entry({ name: 'wrong', uid: 1, gid: 2, mtime: 3, size: 99 }, 'right'),
          pax({ linkpath: 'right/name' }),
          symlink('link', 'wrong'),
          pax({ linkpath: 'right/name' }),
          hardlink('hard', 'wrong'),
        ),
      ],
      expected: {
        right: dir,
        'right/name': { ...text('right'), uid: 70_000, gid: 80_000, mtime: [12, 34] },
        link: { type: 'symlink', target: 'right/name' },
        hard: { ...text('right'), sameInodeAs: 'right/name' },
      },
    },
    {
      rule: 'L16',
      name: 'the PAX size decides where the next header is (CVE-2025-62518)',
      layers: [
        archive(
          pax({ size: `${hidden.length}` }),
          entry({ name: 'outer', size: 0 }, hidden),
          file('last'),
        ),
      ],
      expected: {
        outer: { ...text(hidden.toString('latin1')), size: hidden.length },
        last: text(''),
      },
    },
    {
      rule: 'L16',
      name: 'an empty value leaves what the header says',
      layers: [
        archive(pax({ path: '', uid: '', mtime: '' }), file('f', 'x', { uid: 7, mtime: 8 })),
      ],
      expected: { f: { ...text('x'), uid: 7, mtime: [8, 0] } },
    },
    {
      rule: 'L16',
      name: 'links, devices and directories have no data, whatever their size says',
      layers: [
        archive(
          directory('d/', { size: 512 }),
          symlink('s', 'd', { size: 1024 }),
          pax({ size: '4096' }),
          entry({ name: 'p', type: '6' }),
          file('f', 'x'),
          hardlink('h', 'f', { size: 1 }),
        ),
      ],
      expected: {
        d: dir,
        s: { type: 'symlink', target: 'd' },
        p: { type: 'fifo' },
        f: text('x'),
        h: { ...text('x'), sameInodeAs: 'f' },
      },
    },
  ];
}

/** CVE-2025-62518 again: who skips a bad header reads other entries than who does not. */
function malformedCases(): TortureCase[] {
  const bodies: Record<string, string> = {
    'no length': 'path=x\n',
    'a length that is too long': '99 path=x\n',
    'a length that is too short': '8 path=x\n',
    'a length of zero': '0 path=x\n',
    'a signed length': '+10 path=x\n',
    'a length with a leading zero': '010 path=xy\n',
    'no equals sign': '9 pathxy\n',
    'no key': '6 =xy\n',
    'no newline': '10 path=xyz',
    'bytes behind the last record': '10 path=x\n\0',
    'a NUL in a path': '12 path=x\0y\n',
    'a NUL in a key': '12 pa\0th=xy\n',
  };
  const malformed = Object.entries(bodies).map(([what, body]) => ({
    rule: 'L16',
    name: `a PAX header with ${what} is refused`,
    layers: [archive(entry({ name: 'p', type: 'x' }, body), file('f', 'x'))],
    expected: /PAX record .* (is malformed|holds a NUL)/s,
  }));
  const numbers = ['-1', '1e3', '0x10', ' 5', '9007199254740992', '99999999999999999999'];
  const sizes = numbers.map((size) => ({
    rule: 'L16',
    name: `the PAX size "${size}" is refused`,
    layers: [archive(pax({ size }), file('f', 'x'))],
    expected: /PAX record size is/,
  }));
  return [
    ...malformed,
    ...sizes,
    {
      rule: 'L16',
      name: 'a PAX header without an entry is refused',
      layers: [archive(file('f'), pax({ path: 'x' }))],
      expected: /the archive ends behind an extended header/,
      umociDiffers: 'ignores it',
    },
  ];
}

function globalCases(): TortureCase[] {
  return [
    {
      rule: 'L17',
      name: 'global records hold for all later entries, and are no file',
      layers: [
        archive(
          file('before', '', { uid: 1 }),
          pax({ uid: '1000', mtime: '5.5', comment: '0123', 'SCHILY.xattr.user.g': 'g' }, 'g'),
          file('first', '', { uid: 1 }),
          pax({ uid: '2000', 'SCHILY.xattr.user.o': 'o' }),
          file('second', '', { uid: 1 }),
          pax({ mtime: '7' }, 'g'),
          file('third', '', { uid: 1 }),
          pax({ uid: '' }),
          file('fourth', '', { uid: 1 }),
        ),
      ],
      expected: {
        before: { ...text(''), uid: 1, mtime: [usualTime, 0] },
        first: { ...text(''), uid: 1000, mtime: [5, 500_000_000], xattrs: { 'user.g': 'g' } },
        second: { ...text(''), uid: 2000, xattrs: { 'user.g': 'g', 'user.o': 'o' } },
        third: { ...text(''), uid: 1000, mtime: [7, 0] },
        fourth: { ...text(''), uid: 1, mtime: [7, 0] },
      },
      umociDiffers: 'fails on global headers',
    },
    ...['path', 'linkpath', 'size', 'GNU.sparse.major'].map((key) => ({
      rule: 'L17',
      name: `a global ${key} is refused`,
      layers: [archive(pax({ [key]: '1' }, 'g'), file('f'))],
      expected: /a global header sets/,
    })),
    {
      rule: 'L17',
      name: 'a global header between an entry and its own header is refused',
      layers: [archive(pax({ uid: '1' }), pax({ gid: '1' }, 'g'), file('f'))],
      expected: /a global header is between an entry and its header/,
    },
    {
      rule: 'L17',
      name: 'global headers without end are refused',
      layers: [
        archive(
          pax({ comment: 'x'.repeat(10_000) }, 'g'),
          pax({ comment: 'y'.repeat(10_000) }, 'g'),
          file('f'),
        ),
      ],
      expected: /its global headers have more than 16384 bytes/,
    },
  ];
}
