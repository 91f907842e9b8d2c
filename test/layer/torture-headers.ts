import {
  archive,
  base256,
  bytes,
  endOfArchive,
  entry,
  file,
  gnuMagic,
  header,
  pax,
  paxBody,
  v7Magic,
} from '../support/tar-builder.js';
import type { TortureCase } from './torture-layers.js';

const dir = { type: 'directory' } as const;

function text(content: string) {
  return { type: 'file', content } as const;
}

/** L25, and what is wrong with headers. */
export function headerCases(): TortureCase[] {
  return [...dialectCases(), ...brokenHeaderCases()];
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
