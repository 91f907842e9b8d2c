import {
  archive,
  bytes,
  directory,
  entry,
  file,
  hardlink,
  pax,
  symlink,
} from '../../test/support/tar-builder.js';

/**
 * The layers of the `torture` image: everything odd that the layer rules allow and on which our
 * reader, umoci and GNU tar agree, in one tree that can be mounted. What they do not agree on, and
 * what has to be refused, is tried rule by rule in test/layer/torture-layers.ts.
 */
export function tortureArchives(): Buffer[] {
  return [lowerLayer(), upperLayer(), topLayer()];
}

const time = '1234567890.000000001';

/** An entry whose time, and what else is given, is in PAX records. */
function dated(records: Readonly<Record<string, string>>, body: Buffer): Buffer {
  return Buffer.concat([pax({ mtime: time, ...records }), body]);
}

const names = [
  'caf\xe9 in Latin-1',
  '\xc3\xa9 composed',
  'e\xcc\x81 combining',
  'new\nline',
  'back\\slash',
  'tab\tpercent%20',
  '-rf',
  '*',
  '.hidden',
  '...',
  '\x01\x7f\xff',
];

const longName = 'n'.repeat(255);
const deepFolder = Array.from({ length: 60 }, (_, depth) => `level-${depth}`);

/** Bytes that do not repeat, so that chunks and frames have something to do; always the same. */
function noise(length: number, seed: number): Buffer {
  let state = seed;
  return Buffer.from(
    Uint8Array.from({ length }, () => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return state >>> 24;
    }),
  );
}

const large = noise(3_000_000, 1);

function lowerLayer(): Buffer {
  return archive(
    dated({}, directory('./', { mode: 0o751, uid: 1, gid: 2 })),
    dated({}, directory('./names/')),
    ...names.map((name) => dated({ path: `./names/${name}` }, file('pax', name))),
    dated({ path: `./names/${longName}` }, file('pax', 'long')),
    dated({}, directory('./deep/')),
    ...deepFolder.map((_, depth) =>
      dated(
        { path: `./deep/${deepFolder.slice(0, depth + 1).join('/')}/` },
        directory('pax', { mode: 0o700 + depth }),
      ),
    ),
    ...sizes(),
    ...attributes(),
    ...kinds(),
    ...replacedLater(),
  );
}

/** Sizes around the bounds of chunks, equal contents, holes. */
function sizes(): Buffer[] {
  const lengths = [0, 1, 4095, 4096, 4097, 65_535, 65_536, 65_537, 262_144, 262_145];
  return [
    dated({}, directory('./sizes/')),
    ...lengths.map((length) => dated({}, file(`./sizes/${length}`, noise(length, length)))),
    dated({}, file('./sizes/large', large)),
    dated({}, file('./sizes/large, once more', large, { mode: 0o600, uid: 7 })),
    dated({}, file('./sizes/large, behind an insertion', Buffer.concat([bytes('x'), large]))),
    dated({}, file('./sizes/zeros', Buffer.alloc(1_000_000))),
    dated(
      {
        path: './sizes/sparse',
        'GNU.sparse.major': '1',
        'GNU.sparse.minor': '0',
        'GNU.sparse.name': './sizes/sparse',
        'GNU.sparse.realsize': '50000000',
      },
      file(
        'sparse',
        Buffer.concat([bytes('2\n40000000\n4\n50000000\n0\n'.padEnd(512, '\0')), bytes('data')]),
      ),
    ),
  ];
}

/** Ids, times, modes and extended attributes at their bounds. */
function attributes(): Buffer[] {
  const ids = [65_534, 65_536, 2_097_152, 2 ** 31, 2 ** 32 - 2];
  const times = ['0', '-1', '-0.5', '1.999999999', '4294967296.5', '8589934592'];
  const modes = [0o000, 0o111, 0o1777, 0o2755, 0o4755, 0o6711, 0o7777];
  const capability = '\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0';
  return [
    dated({}, directory('./attributes/')),
    ...ids.map((id) => dated({}, file(`./attributes/id ${id}`, '', { uid: id, gid: id }))),
    ...times.map((mtime) => dated({ mtime }, file(`./attributes/time ${mtime}`))),
    ...modes.map((mode) => dated({}, file(`./attributes/mode ${mode.toString(8)}`, 'x', { mode }))),
    dated({ 'SCHILY.xattr.user.binary': '\0\xff\n=' }, file('./attributes/xattrs', 'x')),
    dated({ 'SCHILY.xattr.user.note': 'folder' }, directory('./attributes/folder/')),
    dated({ 'SCHILY.xattr.user.long': 'v'.repeat(2000) }, file('./attributes/long xattr')),
    dated(
      { 'SCHILY.xattr.security.capability': capability },
      file('./attributes/capable', 'program', { mode: 0o755 }),
    ),
  ];
}

function kinds(): Buffer[] {
  return [
    dated({}, directory('./kinds/')),
    dated({}, entry({ name: './kinds/null', type: '3', mode: 0o666, major: 1, minor: 3 })),
    dated({}, entry({ name: './kinds/disk', type: '4', mode: 0o660, major: 259, minor: 70_000 })),
    dated({}, entry({ name: './kinds/pipe', type: '6', mode: 0o620 })),
    dated({}, symlink('./kinds/dangling', '/no\xe9\n')),
    dated({}, symlink('./kinds/upwards', '../../../../etc/passwd')),
    dated({}, symlink('./kinds/itself', 'itself')),
    dated({ linkpath: 't'.repeat(4000) }, symlink('./kinds/far', 'pax')),
    dated({}, file('./kinds/one', 'three names')),
    dated({}, hardlink('./kinds/two', './kinds/one')),
    dated({}, hardlink('./kinds/three', './kinds/two')),
    dated({}, directory('./many/')),
    ...Array.from({ length: 3000 }, (_, at) => dated({}, file(`./many/file-${at}`, `${at % 100}`))),
  ];
}

function replacedLater(): Buffer[] {
  const folders = ['removed', 'opaque', 'becomes-file', 'changes-mode', 'made-again'];
  return [
    ...folders.flatMap((name) => [
      dated({}, directory(`./layers/${name}/`)),
      dated({}, file(`./layers/${name}/lower`, `lower ${name}`)),
    ]),
    dated({}, symlink('./layers/becomes-folder', '/kinds')),
    dated({}, file('./layers/links-a', 'linked')),
    dated({}, hardlink('./layers/links-b', './layers/links-a')),
    dated({}, file('./layers/rewritten', 'first')),
    dated({}, directory('./layers/', { mode: 0o755 })),
  ];
}

/** Without `./`, as many builders write. */
function upperLayer(): Buffer {
  return archive(
    dated({}, directory('layers/')),
    file('layers/.wh.removed'),
    dated({}, file('layers/opaque/upper', 'upper')),
    dated({}, directory('layers/opaque/', { mode: 0o711 })),
    file('layers/opaque/.wh..wh..opq'),
    dated({}, file('layers/becomes-file', 'now a file')),
    dated({}, directory('layers/becomes-folder/')),
    dated({}, file('layers/becomes-folder/inside', 'in the layer, not in /kinds')),
    dated({}, directory('layers/changes-mode/', { mode: 0o1770, uid: 3, gid: 4 })),
    file('layers/.wh.links-b'),
    file('layers/.wh.made-again'),
    dated({}, directory('layers/made-again/')),
    dated({}, file('layers/rewritten', 'second, longer', { mode: 0o640 })),
    dated({}, file('layers/twice', 'first entry')),
    dated({}, file('layers/twice', 'second entry')),
    file('layers/.wh.never-was'),
  );
}

function topLayer(): Buffer {
  return archive(
    dated({}, directory('layers/')),
    dated({}, directory('layers/removed/')),
    dated({}, file('layers/removed/back', 'in the third layer')),
    dated({}, directory('top/')),
    dated({}, file('top/program', '#!/bin/true\n', { mode: 0o755 })),
  );
}
