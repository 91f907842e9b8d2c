import {
  archive,
  base256,
  bytes,
  directory,
  endOfArchive,
  entry,
  file,
  gnuLong,
  gnuMagic,
  hardlink,
  header,
  pax,
  paxBody,
  symlink,
  usualTime,
  v7Magic,
} from '../support/tar-builder.js';
import type { TortureCase } from './torture-layers.js';

const dir = { type: 'directory' } as const;

function text(content: string) {
  return { type: 'file', content } as const;
}

/** L15 to L20 and L25: what PAX, GNU and old headers say. */
export function headerCases(): TortureCase[] {
  return [
    ...xattrCases(),
    ...paxCases(),
    ...malformedPaxCases(),
    ...globalCases(),
    ...longNameCases(),
    ...idCases(),
    ...timeCases(),
    ...dialectCases(),
    ...brokenHeaderCases(),
  ];
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

function paxCases(): TortureCase[] {
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
function malformedPaxCases(): TortureCase[] {
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

function longNameCases(): TortureCase[] {
  const long = `${'n'.repeat(90)}/${'m'.repeat(90)}`;
  const parent = 'n'.repeat(90);
  return [
    {
      rule: 'L18',
      name: 'GNU long names and targets; of several the last one counts',
      layers: [
        archive(
          gnuLong('L', 'not/this'),
          gnuLong('K', 'nor/that'),
          gnuLong('L', long),
          gnuLong('K', 't'.repeat(300)),
          symlink('short', 'short', { magic: gnuMagic }),
          file('next', 'x', { magic: gnuMagic }),
        ),
      ],
      expected: {
        [parent]: dir,
        [long]: { type: 'symlink', target: 't'.repeat(300) },
        next: text('x'),
      },
    },
    {
      rule: 'L18',
      name: 'of several PAX headers before one entry the last one counts',
      layers: [
        archive(pax({ path: 'a', uid: '9' }), pax({ path: 'b' }), file('f', 'x', { uid: 4 })),
      ],
      expected: { b: { ...text('x'), uid: 4 } },
    },
    {
      rule: 'L18',
      name: 'PAX and GNU headers of one entry that agree',
      layers: [archive(pax({ path: long }), gnuLong('L', long), file('f', 'x'))],
      expected: { [parent]: dir, [long]: text('x') },
    },
    {
      rule: 'L18',
      name: 'PAX and GNU headers of one entry that disagree are refused',
      layers: [archive(pax({ path: 'a' }), gnuLong('L', 'b'), file('f', 'x'))],
      expected: /one name in its PAX and another in its GNU header/,
      umociDiffers: 'takes one of them',
    },
    ...['x', 'g', 'L', 'K'].map((type) => ({
      rule: 'L18',
      name: `a header of type ${type} beyond 1 MiB is refused before it is read`,
      layers: [header({ name: 'big', type, size: 2 ** 20 + 1 })],
      expected: /an extended header has 1048577 bytes/,
    })),
    {
      rule: 'L18',
      name: 'a header that claims terabytes is refused',
      layers: [header({ name: 'big', type: 'x', size: base256(2 ** 42, 12) })],
      expected: /an extended header has 4398046511104 bytes/,
    },
  ];
}

function idCases(): TortureCase[] {
  const ids = [65_535, 65_536, 2_097_151, 2_097_152, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 2];
  const files = ids.flatMap((id) => [
    file(`header-${id}`, '', { uid: id, gid: id }),
    pax({ uid: `${id}`, gid: `${id}` }),
    file(`pax-${id}`),
  ]);
  const nodes = ids.flatMap((id) =>
    ['header', 'pax'].map((form) => [`${form}-${id}`, { ...text(''), uid: id, gid: id }] as const),
  );
  const refusedHeaders = [2 ** 32 - 1, 2 ** 32, -1, -(2 ** 31)].map((uid) => ({
    rule: 'L19',
    name: `the user id ${uid} in a header is refused`,
    layers: [archive(file('f', '', { uid }))],
    expected: /user id -?\d+ \(wanted 0 to 4294967294\)/,
    umociDiffers: 'cuts the number off',
  }));
  const refusedRecords = ['4294967295', '-1', '4294967296', '1.5', 'root'].map((gid) => ({
    rule: 'L19',
    name: `the group id "${gid}" in a PAX header is refused`,
    layers: [archive(pax({ gid }), file('f'))],
    expected: /group id/,
    ...(/^-?\d+$/.test(gid) && { umociDiffers: 'cuts the number off' }),
  }));
  return [
    {
      rule: 'L19',
      name: 'ids up to 2^32 - 2, in base-256 and in PAX',
      layers: [archive(...files)],
      expected: Object.fromEntries(nodes),
    },
    ...refusedHeaders,
    ...refusedRecords,
  ];
}

function timeCases(): TortureCase[] {
  const times: Record<string, readonly [number, number]> = {
    '0': [0, 0],
    '1.5': [1, 500_000_000],
    '1700000000.123456789': [1_700_000_000, 123_456_789],
    '1700000000.1234567899': [1_700_000_000, 123_456_789],
    '8.': [8, 0],
    '-1': [-1, 0],
    '-0.25': [-1, 750_000_000],
    '-1.000000001': [-2, 999_999_999],
    '8589934592.000000001': [8_589_934_592, 1],
    '-2147483648': [-2_147_483_648, 0],
  };
  const named = Object.entries(times).map(([time, mtime], index) => ({
    time,
    mtime,
    name: `t${index}`,
  }));
  const refused = [
    '1e400',
    'NaN',
    'inf',
    '',
    '1.5e3',
    '--1',
    '1,5',
    '.5',
    '9007199254740992',
    '0x10',
  ];
  return [
    {
      rule: 'L20',
      name: 'times to the nanosecond, negative and late ones',
      layers: [archive(...named.flatMap(({ time, name }) => [pax({ mtime: time }), file(name)]))],
      expected: Object.fromEntries(named.map(({ name, mtime }) => [name, { ...text(''), mtime }])),
    },
    {
      rule: 'L20',
      name: 'times in base-256',
      layers: [
        archive(
          file('before', '', { mtime: -86_400 }),
          file('late', '', { mtime: 2 ** 33 + 1 }),
          file('octal', '', { mtime: 8 ** 11 - 1 }),
        ),
      ],
      expected: {
        before: { ...text(''), mtime: [-86_400, 0] },
        late: { ...text(''), mtime: [2 ** 33 + 1, 0] },
        octal: { ...text(''), mtime: [8 ** 11 - 1, 0] },
      },
    },
    {
      rule: 'L20',
      name: 'times that ext4 cannot hold, and the zero of Go',
      layers: [
        archive(
          file('late', '', { mtime: 2 ** 40 }),
          pax({ mtime: '9007199254740991.999999999' }),
          file('latest'),
          pax({ mtime: '-62135596800' }),
          file('zero'),
        ),
      ],
      expected: {
        late: { ...text(''), mtime: [2 ** 40, 0] },
        latest: { ...text(''), mtime: [Number.MAX_SAFE_INTEGER, 999_999_999] },
        zero: { ...text(''), mtime: [-62_135_596_800, 0] },
      },
      umociDiffers: 'sets what time the kernel makes of it, and the present for the zero of Go',
    },
    {
      rule: 'L20',
      name: 'a time in base-256 beyond 2^53 is refused',
      layers: [archive(file('f', '', { mtime: base256(2n ** 60n, 12) }))],
      expected: /the modification time of a tar header is/,
      umociDiffers: 'sets what time the kernel makes of it',
    },
    ...refused
      .filter((time) => time !== '')
      .map((time) => ({
        rule: 'L20',
        name: `the time "${time}" is refused`,
        layers: [archive(pax({ mtime: time }), file('f'))],
        expected: /PAX time is/,
        ...(time === '9007199254740992' && { umociDiffers: 'sets what the kernel makes of it' }),
      })),
  ];
}

function dialectCases(): TortureCase[] {
  return [
    {
      rule: 'L25',
      name: 'V7 headers: no magic, directories by their slash, garbage where ustar has names',
      layers: [
        archive(
          entry({ name: 'd/', type: '\0', magic: v7Magic }),
          entry({ name: 'd/f', type: '\0', magic: v7Magic, prefix: 'ignored' }, 'v7'),
          entry({ name: 'h', type: '1', magic: v7Magic, target: 'd/f' }),
        ),
      ],
      expected: { d: dir, 'd/f': text('v7'), h: { ...text('v7'), sameInodeAs: 'd/f' } },
    },
    {
      rule: 'L25',
      name: 'the prefix of ustar, and that of star with its times behind it',
      layers: [
        archive(
          file('name', 'u', { prefix: 'a/b' }),
          entry(
            {
              name: 'name',
              prefix: 'c/d',
              patch: new Map([
                [476, bytes('00000000001\x0000000000002\0')],
                [508, bytes('tar\0')],
              ]),
            },
            's',
          ),
        ),
      ],
      expected: {
        a: dir,
        'a/b': dir,
        'a/b/name': text('u'),
        c: dir,
        'c/d': dir,
        'c/d/name': text('s'),
      },
    },
    {
      rule: 'L25',
      name: 'GNU headers have times where ustar has a prefix, those of old Go a prefix',
      layers: [
        archive(
          file('gnu', '1', {
            magic: gnuMagic,
            patch: new Map([[345, bytes('12345670123\x0012345670123\0')]]),
          }),
          file('go', '2', { magic: gnuMagic, prefix: 'usr/share' }),
        ),
      ],
      expected: { gnu: text('1'), usr: dir, 'usr/share': dir, 'usr/share/go': text('2') },
    },
    {
      rule: 'L25',
      name: 'contiguous files and unknown types are files',
      layers: [
        archive(
          entry({ name: 'c', type: '7' }, 'contiguous'),
          entry({ name: 'q', type: 'Q' }, 'what'),
        ),
      ],
      expected: { c: text('contiguous'), q: text('what') },
      umociDiffers: 'refuses them, as containerd does',
    },
    {
      rule: 'L25',
      name: 'volume labels, Solaris ACLs and attribute files, star inodes are skipped',
      layers: [
        archive(
          entry({ name: 'label', type: 'V' }),
          entry({ name: 'acl', type: 'A' }, 'user::rwx'),
          pax({ path: 'of/an/attribute' }),
          entry({ name: 'attribute', type: 'E' }, 'x'.repeat(600)),
          entry({ name: 'inode', type: 'I' }),
          file('f', 'x'),
        ),
      ],
      expected: { f: text('x') },
      umociDiffers: 'refuses them, as containerd does',
    },
    {
      rule: 'L25',
      name: 'a GNU dump directory is a directory, a Solaris X header is PAX',
      layers: [
        archive(
          entry({ name: 'd/', type: 'D', mode: 0o700 }, 'Yone\0Ntwo\0\0'),
          pax({ path: 'by/x' }, 'X'),
          file('f', 'x'),
        ),
      ],
      expected: { d: { ...dir, mode: 0o700 }, by: dir, 'by/x': text('x') },
      umociDiffers: 'refuses them, as containerd does',
    },
    {
      rule: 'L25',
      name: 'the rest of a file of another volume is refused',
      layers: [archive(entry({ name: 'f', type: 'M' }, 'rest'))],
      expected: /continues one of another volume/,
    },
    {
      rule: 'L25',
      name: 'numbers with spaces around, and empty ones',
      layers: [
        archive(
          file('f', 'x', {
            mode: bytes('  644 \0'),
            uid: bytes('\0'.repeat(8)),
            gid: bytes('   12 \0\0'),
          }),
        ),
      ],
      expected: { f: { ...text('x'), mode: 0o644, uid: 0, gid: 0o12 } },
    },
  ];
}

function brokenHeaderCases(): TortureCase[] {
  const sizes: Record<string, Buffer> = {
    'with a digit that is not octal': bytes('00000000008\0'),
    'with a sign': bytes('-0000000001\0'),
    'with digits behind a space': bytes('0000001 002\0'),
    'with digits behind a NUL': bytes('\x0000000000001'),
    'in base-256 that is negative': base256(-1, 12),
    'in base-256 beyond 2^53': base256(2n ** 53n, 12),
    'in base-256 of all bits': Buffer.alloc(12, 0xff),
  };
  return [
    ...Object.entries(sizes).map(([what, size]) => ({
      rule: 'L16',
      name: `a size ${what} is refused`,
      layers: [archive(file('f', '', { size }))],
      expected: /size/,
      ...(what === 'with digits behind a NUL' && { umociDiffers: 'skips the NUL' }),
    })),
    {
      rule: 'L25',
      name: 'a wrong checksum is refused',
      layers: [archive(file('f', 'x', { checksum: 1 }))],
      expected: /the checksum of a tar header is 1/,
    },
    {
      rule: 'L25',
      name: 'a checksum of signed bytes, as old writers made it',
      layers: [archive(signedChecksumFile('\xe9t\xe9', 'x'))],
      expected: { '\xe9t\xe9': text('x') },
    },
    {
      rule: 'L26',
      name: 'a file that is cut off is refused',
      layers: [entry({ name: 'f' }, 'x'.repeat(2000)).subarray(0, 1500)],
      expected: /ends in the middle of an entry/,
    },
    {
      rule: 'L26',
      name: 'a header that is cut off is refused',
      layers: [Buffer.concat([file('f', 'x'), header({ name: 'g' }).subarray(0, 100)])],
      expected: /ends in the middle of an entry/,
    },
    {
      rule: 'L26',
      name: 'a header behind a single zero block is refused',
      layers: [Buffer.concat([file('f', 'x'), Buffer.alloc(512), file('g'), endOfArchive])],
      expected: /a header follows a single zero block/,
    },
    {
      rule: 'L16',
      name: 'records with a key several times: the last one counts',
      layers: [
        archive(
          paxBody([
            ['path', 'a'],
            ['path', 'b'],
          ]),
          file('f', 'x'),
        ),
      ],
      expected: { b: text('x') },
    },
  ];
}

function signedChecksumFile(name: string, data: string): Buffer {
  const unsigned = entry({ name }, data);
  const high = [...unsigned.subarray(0, 512)].filter((byte) => byte > 0x7f).length;
  const stated = parseInt(unsigned.toString('latin1', 148, 154), 8);
  return entry({ name, checksum: stated - 256 * high }, data);
}
