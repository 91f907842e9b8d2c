import {
  archive,
  base256,
  file,
  gnuLong,
  gnuMagic,
  header,
  pax,
  symlink,
} from '../support/tar-builder.js';
import type { TortureCase } from './torture-layers.js';

const dir = { type: 'directory' } as const;

function text(content: string) {
  return { type: 'file', content } as const;
}

/** L18 to L20: long names, ids and times. */
export function numberCases(): TortureCase[] {
  return [...longNameCases(), ...idCases(), ...timeCases()];
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
