import { archive, directory, entry, file, hardlink, symlink } from '../support/tar-builder.js';
import type { TortureCase } from './torture-layers.js';

const dir = { type: 'directory' } as const;

function text(content: string) {
  return { type: 'file', content } as const;
}

const lowerDirectory = archive(directory('d/'), file('d/a', 'lower a'), file('d/b', 'lower b'));
const lowerEtc = archive(
  directory('etc/'),
  file('etc/passwd', 'users'),
  file('etc/gone', 'lower'),
  symlink('local', '/etc'),
  symlink('out', '../../../../etc'),
  symlink('dead', '/missing'),
  symlink('loop', 'loop'),
);
const etcTree = {
  etc: dir,
  'etc/passwd': text('users'),
  local: { type: 'symlink', target: '/etc' },
  out: { type: 'symlink', target: '../../../../etc' },
  dead: { type: 'symlink', target: '/missing' },
  loop: { type: 'symlink', target: 'loop' },
} as const;

/** L1 to L7. */
export function whiteoutCases(): TortureCase[] {
  return [...plainCases(), ...opaqueCases(), ...hiddenCases(), ...rootedCases()];
}

function plainCases(): TortureCase[] {
  return [
    {
      rule: 'L1',
      name: 'a whiteout removes a file of a lower layer',
      layers: [lowerDirectory, archive(file('d/.wh.a'))],
      expected: { d: dir, 'd/b': text('lower b') },
    },
    {
      rule: 'L1',
      name: 'a whiteout before the file of the same layer leaves that',
      layers: [lowerDirectory, archive(file('d/.wh.a'), file('d/a', 'new'))],
      expected: { d: dir, 'd/a': text('new'), 'd/b': text('lower b') },
    },
    {
      rule: 'L1',
      name: 'a whiteout behind the file of the same layer leaves that too',
      layers: [lowerDirectory, archive(file('d/a', 'new'), file('d/.wh.a'))],
      expected: { d: dir, 'd/a': text('new'), 'd/b': text('lower b') },
    },
    {
      rule: 'L1',
      name: 'a whiteout reaches through several layers, and a later layer may bring the file back',
      layers: [
        lowerDirectory,
        archive(file('d/c', 'middle')),
        archive(file('d/.wh.a'), file('d/.wh.c')),
        archive(file('d/a', 'back')),
      ],
      expected: { d: dir, 'd/a': text('back'), 'd/b': text('lower b') },
    },
    {
      rule: 'L1',
      name: 'whiteouts of what is not there, in the lowest layer too, change and create nothing',
      layers: [archive(file('.wh.x'), file('no/.wh.y'), file('a')), archive(file('a/.wh.b'))],
      expected: { a: text('') },
    },
    {
      rule: 'L5',
      name: 'a directory that is whited out and made again has only its new children',
      layers: [
        lowerDirectory,
        archive(file('.wh.d'), directory('d/', { mode: 0o700 }), file('d/c', 'new')),
      ],
      expected: { d: { type: 'directory', mode: 0o700 }, 'd/c': text('new') },
    },
    {
      rule: 'L5',
      name: 'the same with the whiteout last and no entry for the directory',
      layers: [lowerDirectory, archive(file('d/c', 'new'), file('.wh.d'))],
      expected: { d: { type: 'directory', mode: 0o755, uid: 0 }, 'd/c': text('new') },
    },
  ];
}

function opaqueCases(): TortureCase[] {
  const opaqueTree = { d: { type: 'directory', mode: 0o711 }, 'd/c': text('new') } as const;
  const own = [directory('d/', { mode: 0o711 }), file('d/c', 'new')];
  const opaque = file('d/.wh..wh..opq');
  return [
    {
      rule: 'L2',
      name: 'an opaque marker in front of the entries of its directory',
      layers: [lowerDirectory, archive(opaque, ...own)],
      expected: opaqueTree,
    },
    {
      rule: 'L2',
      name: 'an opaque marker behind them',
      layers: [lowerDirectory, archive(...own, opaque)],
      expected: opaqueTree,
    },
    {
      rule: 'L2',
      name: 'an opaque marker between new entries of a subdirectory that is in lower layers too',
      layers: [
        archive(directory('d/'), directory('d/s/'), file('d/s/low', '1'), file('d/x', '1')),
        archive(file('d/s/one', '2'), opaque, file('d/s/two', '2')),
      ],
      expected: { d: dir, 'd/s': dir, 'd/s/one': text('2'), 'd/s/two': text('2') },
    },
    {
      rule: 'L2',
      name: 'an opaque root',
      layers: [lowerEtc, archive(file('.wh..wh..opq'), file('only', 'this'))],
      expected: { only: text('this') },
    },
    {
      rule: 'L2',
      name: 'an opaque marker for a directory that no lower layer has',
      layers: [archive(file('a')), archive(directory('n/'), file('n/.wh..wh..opq'), file('n/f'))],
      expected: { a: text(''), n: dir, 'n/f': text('') },
    },
  ];
}

function hiddenCases(): TortureCase[] {
  return [
    {
      rule: 'L3',
      name: 'whiteouts of any type are whiteouts, and AUFS names are hidden',
      layers: [
        lowerDirectory,
        archive(
          entry({ name: 'd/.wh.a', type: '3', major: 0, minor: 0 }),
          hardlink('d/.wh.b', '.wh..wh.aufs'),
          file('.wh..wh.aufs'),
          directory('.wh..wh.orph/'),
          file('.wh..wh.orph/deep/file', 'x'),
        ),
      ],
      expected: { d: dir },
      umociDiffers: 'shows the names of AUFS',
    },
    {
      rule: 'L3',
      name: 'hard links into the hidden .wh..wh.plnk of AUFS',
      layers: [
        archive(
          directory('.wh..wh.plnk/'),
          file('.wh..wh.plnk/123.456', 'linked'),
          hardlink('a', '.wh..wh.plnk/123.456'),
          hardlink('b', '/.wh..wh.plnk/123.456'),
        ),
      ],
      expected: { a: text('linked'), b: { ...text('linked'), sameInodeAs: 'a' } },
      umociDiffers: 'shows .wh..wh.plnk',
    },
    {
      rule: 'L3',
      name: 'no directory has a name that begins with .wh.',
      layers: [archive(file('.wh.etc/file', 'x'))],
      expected: /entry "\.wh\.etc\/file" is below a whiteout/,
      umociDiffers: 'makes the directory, as containerd does',
    },
    {
      rule: 'L3',
      name: 'names that only contain .wh. are ordinary',
      layers: [archive(file('a.wh.b', '1'), file('.whx', '2'), file('.wh', '3'))],
      expected: { 'a.wh.b': text('1'), '.whx': text('2'), '.wh': text('3') },
    },
    {
      rule: 'L4',
      name: 'a bare .wh. is refused',
      layers: [lowerDirectory, archive(file('d/.wh.'))],
      expected: /is a whiteout of no file/,
    },
    {
      rule: 'L7',
      name: 'a whiteout of the directory itself is refused',
      layers: [lowerDirectory, archive(file('d/.wh..'))],
      expected: /is a whiteout of no file/,
    },
    {
      rule: 'L7',
      name: 'a whiteout of the directory above is refused',
      layers: [lowerDirectory, archive(file('d/.wh...'))],
      expected: /is a whiteout of no file/,
    },
    {
      rule: 'L7',
      name: 'a whiteout of the root is refused',
      layers: [lowerDirectory, archive(file('/.wh..'))],
      expected: /is a whiteout of no file/,
    },
  ];
}

function rootedCases(): TortureCase[] {
  return [
    {
      rule: 'L6',
      name: 'a whiteout of a symlink removes the symlink',
      layers: [lowerDirectory, archive(symlink('l', 'd')), archive(file('.wh.l'))],
      expected: { d: dir, 'd/a': text('lower a'), 'd/b': text('lower b') },
    },
    {
      rule: 'L6',
      name: 'a whiteout below an absolute symlink follows it in the root',
      layers: [lowerEtc, archive(file('local/.wh.gone'))],
      expected: etcTree,
    },
    {
      rule: 'L6',
      name: 'a whiteout below a symlink that leaves the root stays in it',
      layers: [lowerEtc, archive(file('out/.wh.gone'))],
      expected: etcTree,
    },
    {
      rule: 'L6',
      name: 'a whiteout below a dead symlink removes nothing',
      layers: [lowerEtc, archive(file('dead/.wh.etc'), file('etc/.wh.gone'))],
      expected: etcTree,
    },
    {
      rule: 'L6',
      name: 'an opaque marker below a symlink empties the directory in the root',
      layers: [lowerEtc, archive(file('out/.wh..wh..opq'), file('etc/passwd', 'users'))],
      expected: etcTree,
    },
    ...hiddenSymlinkCases(),
    {
      rule: 'L6',
      name: 'a whiteout below a symlink that leads to itself is refused',
      layers: [lowerEtc, archive(file('loop/.wh.x'))],
      expected: /leads through too many symlinks/,
    },
    {
      rule: 'L6',
      name: 'a whiteout below a symlink of the same layer looks at lower layers only',
      layers: [
        archive(directory('etc/'), file('etc/passwd', 'users')),
        archive(symlink('link', 'etc'), file('link/.wh.passwd')),
      ],
      expected: { etc: dir, 'etc/passwd': text('users'), link: { type: 'symlink', target: 'etc' } },
      umociDiffers: 'follows the link if it came first, as containerd does',
    },
  ];
}

/** What docker writes when `local` was a symlink, is removed, and made again as a directory. */
function hiddenSymlinkCases(): TortureCase[] {
  const tree = {
    ...etcTree,
    'etc/gone': text('lower'),
    local: dir,
    'local/x': text('new'),
  } as const;
  const made = [directory('local/'), file('local/x', 'new')];
  const opaque = file('local/.wh..wh..opq');
  return [
    {
      rule: 'L6',
      name: 'an opaque directory over a symlink leaves what the symlink led to',
      layers: [lowerEtc, archive(directory('local/'), opaque, file('local/x', 'new'))],
      expected: tree,
    },
    {
      rule: 'L6',
      name: 'the same with the opaque marker first',
      layers: [lowerEtc, archive(opaque, ...made)],
      expected: tree,
      umociDiffers: 'follows the link',
    },
    {
      rule: 'L6',
      name: 'the same with a whiteout of the symlink, and of something below it',
      layers: [lowerEtc, archive(file('local/.wh.gone'), ...made, file('.wh.local'))],
      expected: tree,
      umociDiffers: 'follows the link',
    },
    {
      rule: 'L6',
      name: 'an opaque directory with a symlink in it, and a whiteout below that',
      layers: [
        archive(directory('etc/'), file('etc/gone', 'x'), directory('d/'), symlink('d/l', '/etc')),
        archive(file('d/.wh..wh..opq'), file('d/l/.wh.gone')),
      ],
      expected: { etc: dir, 'etc/gone': text('x'), d: dir },
    },
  ];
}
