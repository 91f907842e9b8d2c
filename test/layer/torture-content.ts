import { byteStringFromText } from '../../src/byte-string.js';
import { archive, directory, file, pax, symlink } from '../support/tar-builder.js';
import type { ExpectedTree, TortureCase } from './torture-layers.js';

const dir = { type: 'directory' } as const;

function text(content: string) {
  return { type: 'file', content } as const;
}

/** L21, L27, L28: names, rights that are no xattrs, many and long things. */
export function contentCases(): TortureCase[] {
  return [...nameCases(), ...rightsCases(), ...sizeCases()];
}

function nameCases(): TortureCase[] {
  const names = [
    'latin1-\xe9',
    `utf8-${byteStringFromText('\u00e9')}`,
    `nfd-${byteStringFromText('e\u0301')}`,
    `nfc-${byteStringFromText('\u00e9')}`,
    'new\nline',
    'back\\slash',
    'per%20cent',
    'quote"\'`$(x)',
    'tab\tand\x01\x7f\xff',
    ' spaces ',
    '-dash',
    '...',
    'a'.repeat(255),
    '\xff'.repeat(100),
  ];
  const short = names.filter((name) => name.length <= 100);
  const deep = `${`${'d'.repeat(254)}/`.repeat(16)}${'e'.repeat(16)}`;
  return [
    {
      rule: 'L21',
      name: 'names are bytes, in headers and in PAX',
      layers: [
        archive(
          ...short.map((name) => file(name, name)),
          ...names.flatMap((name) => [pax({ path: `pax/${name}` }), file('p', name)]),
          symlink('target', 'no\xe9\n'),
        ),
      ],
      expected: {
        ...Object.fromEntries(short.map((name) => [name, text(name)])),
        pax: dir,
        ...Object.fromEntries(names.map((name) => [`pax/${name}`, text(name)])),
        target: { type: 'symlink', target: 'no\xe9\n' },
      },
    },
    {
      rule: 'L21',
      name: 'a path of 4096 bytes',
      layers: [archive(pax({ path: deep }), file('p', 'deep'))],
      expected: { ...parentsOf(deep), [deep]: text('deep') },
      umociDiffers: 'cannot name it to the kernel',
    },
    {
      rule: 'L21',
      name: 'a path of 4097 bytes is refused',
      layers: [archive(pax({ path: `${deep}x` }), file('p'))],
      expected: /has 4097 bytes/,
    },
    {
      rule: 'L21',
      name: 'a name of 256 bytes is refused',
      layers: [archive(pax({ path: `d/${'n'.repeat(256)}` }), file('p'))],
      expected: /has 256 bytes \(wanted at most 255\)/,
    },
    {
      rule: 'L21',
      name: 'a path of 1025 components is refused',
      layers: [archive(pax({ path: `${'d/'.repeat(1024)}f` }), file('p'))],
      expected: /is 1025 deep \(wanted at most 1024\)/,
      umociDiffers: 'makes it',
    },
    {
      rule: 'L21',
      name: 'a tree made too deep by symlinks is refused',
      layers: [
        archive(
          pax({ path: 'd/'.repeat(1000) }),
          directory('d'),
          pax({ linkpath: 'd/'.repeat(1000) }),
          symlink('down', 'd'),
          file(`down/${'e/'.repeat(40)}f`),
        ),
      ],
      expected: /is too deep in the tree/,
      umociDiffers: 'makes it',
    },
    ...['', 't'.repeat(4096)].map((target) => ({
      rule: 'L21',
      name: `a symlink's target of ${target.length} bytes is refused`,
      layers: [archive(pax({ linkpath: target }), symlink('l', ''))],
      expected: /target has \d+ bytes \(wanted 1 to 4095\)/,
    })),
  ];
}

function parentsOf(path: string): ExpectedTree {
  const parts = path.split('/').slice(0, -1);
  return Object.fromEntries(parts.map((_, index) => [parts.slice(0, index + 1).join('/'), dir]));
}

function rightsCases(): TortureCase[] {
  const acl = '\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff';
  return [
    {
      rule: 'L27',
      name: 'ACLs and labels are kept as xattrs, dropped as text; file flags are dropped',
      layers: [
        archive(
          pax({
            'SCHILY.xattr.security.selinux': 'system_u:object_r:bin_t:s0\0',
            'SCHILY.xattr.system.posix_acl_access': acl,
            'SCHILY.acl.access': 'user::rw-,user:bin:r--',
            'SCHILY.acl.default': 'user::rwx',
            'SCHILY.fflags': 'immutable',
            'RHT.security.selinux': 'unconfined_u',
            'SCHILY.ino': '4',
            uname: 'nobody',
            hdrcharset: 'BINARY',
          }),
          file('f', 'x'),
        ),
      ],
      expected: {
        f: {
          ...text('x'),
          xattrs: {
            'security.selinux': 'system_u:object_r:bin_t:s0\0',
            'system.posix_acl_access': acl,
          },
        },
      },
      umociDiffers: 'drops security.selinux; the kernel refuses an ACL that is not whole',
    },
  ];
}

/** Not too many for a generator that others run often; a test of its own merges more. */
const manyNames = 2000;

function sizeCases(): TortureCase[] {
  const numbers = Array.from({ length: manyNames }, (_, index) => `many/${index}`);
  const layers = Array.from({ length: 128 }, (_, index) =>
    archive(
      file(`layer-${index}`, `${index}`),
      file('top', `${index}`),
      file(`.wh.layer-${index - 2}`),
    ),
  );
  return [
    {
      rule: 'L28',
      name: 'empty files and a directory of many names',
      layers: [archive(directory('many/'), ...numbers.map((name) => file(name)))],
      expected: { many: dir, ...Object.fromEntries(numbers.map((name) => [name, text('')])) },
    },
    {
      rule: 'L28',
      name: '128 layers',
      layers,
      expected: { 'layer-126': text('126'), 'layer-127': text('127'), top: text('127') },
    },
  ];
}
