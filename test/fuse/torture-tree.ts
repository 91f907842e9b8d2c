import { randomFillSync } from 'node:crypto';
import { type ByteString, byteString, byteStringFromText } from '../../src/byte-string.js';
import { type Digest, digestOf } from '../../src/digest.js';
import type { Attributes, DirectoryNode, FileNode, TreeNode } from '../../src/image/tree.js';

/** Contents by digest, as a store would have them. */
export type Contents = Map<Digest, Buffer>;

const plain: Attributes = {
  mode: 0o644,
  uid: 0,
  gid: 0,
  mtime: { seconds: 1_600_000_000, nanoseconds: 123_456_789 },
  xattrs: new Map(),
};

export function directory(
  children: Iterable<readonly [ByteString, TreeNode]>,
  attributes: Partial<Attributes> = {},
): DirectoryNode {
  return { ...plain, mode: 0o755, ...attributes, type: 'directory', children: new Map(children) };
}

export function file(
  contents: Contents,
  bytes: Buffer,
  attributes: Partial<Attributes> = {},
): FileNode {
  const content = digestOf(bytes);
  contents.set(content, bytes);
  return { ...plain, ...attributes, type: 'file', size: bytes.length, content };
}

function symlink(target: string): TreeNode {
  return { ...plain, mode: 0o777, type: 'symlink', target: byteStringFromText(target) };
}

function name(text: string): ByteString {
  return byteStringFromText(text);
}

/** Names that text handling spoils: not UTF-8, twins in NFC and NFD, control bytes, 255 bytes. */
const oddNames: ByteString[] = [
  byteString(Buffer.from([0xff, 0xfe, 0x80])),
  byteString(Buffer.from([0xe9])),
  name('caf\u00e9'),
  name('cafe\u0301'),
  name('new\nline'),
  name('back\\slash'),
  name('per%cent,comma:colon'),
  name(' '),
  name('-'),
  name('!before-dot'),
  name('...'),
  name('\u{1f600}'),
  'n'.repeat(255) as ByteString,
];

/** Everything a tree can hold, each oddity once. */
export function tortureTree(contents: Contents): DirectoryNode {
  const shared = file(contents, Buffer.from('linked thrice\n'));
  const many = Array.from({ length: 1000 }, (_, index) => index);
  return directory(
    [
      [name('bin'), programs(contents)],
      [name('names'), directory(oddNames.map((odd) => [odd, file(contents, Buffer.from(odd))]))],
      [name('types'), types()],
      [name('times'), times(contents)],
      [name('owners'), owners(contents)],
      [name('xattrs'), xattrs(contents)],
      [name('sizes'), sizes(contents)],
      [name('link-a'), shared],
      [name('linked'), directory([[name('link-b'), shared]])],
      [name('link-c'), shared],
      [name('empty'), directory([])],
      [
        name('many'),
        directory(many.map((at) => [name(`f${at}`), file(contents, Buffer.alloc(0))])),
      ],
      [name('deep'), deep(60)],
    ],
    { mode: 0o751, mtime: { seconds: 1, nanoseconds: 2 } },
  );
}

function programs(contents: Contents): DirectoryNode {
  return directory([
    [name('setuid'), file(contents, Buffer.from('#!/bin/sh\nid -u\n'), { mode: 0o4755 })],
    [name('setgid'), file(contents, Buffer.from('x'), { mode: 0o2711 })],
    [name('script'), file(contents, Buffer.from('#!/bin/sh\necho hello\n'), { mode: 0o755 })],
  ]);
}

function types(): DirectoryNode {
  return directory(
    [
      [name('null'), { ...plain, type: 'character', device: { major: 1, minor: 3 } }],
      [name('block'), { ...plain, type: 'block', device: { major: 300, minor: 70_000 } }],
      [name('whiteout'), { ...plain, type: 'character', device: { major: 0, minor: 0 } }],
      [name('fifo'), { ...plain, type: 'fifo' }],
      [name('socket'), { ...plain, type: 'socket' }],
      [name('short'), symlink('a')],
      [name('long'), symlink('t/'.repeat(2047))],
      [name('up'), symlink('../bin/script')],
    ],
    { mode: 0o1777 },
  );
}

function times(contents: Contents): DirectoryNode {
  const seconds = [-2_000_000_000, -1, 0, 2 ** 31, 2 ** 33 + 5];
  return directory(
    seconds.flatMap((at) =>
      [0, 1, 999_999_999].map((nanoseconds) => [
        name(`${at}.${nanoseconds}`),
        file(contents, Buffer.from('t'), { mtime: { seconds: at, nanoseconds } }),
      ]),
    ) as [ByteString, TreeNode][],
  );
}

function owners(contents: Contents): DirectoryNode {
  const ids = [1, 65_534, 65_536, 2 ** 31, 4_000_000_000];
  return directory(
    ids.map((id) => [name(`${id}`), file(contents, Buffer.from('o'), { uid: id, gid: id - 1 })]),
  );
}

function xattrs(contents: Contents): DirectoryNode {
  const value = Buffer.alloc(1500);
  randomFillSync(value);
  const given = (entries: Record<string, Buffer>): Partial<Attributes> => ({
    xattrs: new Map(Object.entries(entries).map(([key, bytes]) => [name(key), bytes])),
  });
  const capability = Buffer.from('0100000200040000000000000000000000000000', 'hex');
  return directory(
    [
      [name('user'), file(contents, Buffer.from('u'), given({ 'user.a': value, 'user.b': empty }))],
      [name('cap'), file(contents, Buffer.from('c'), given({ 'security.capability': capability }))],
      [name('trusted'), file(contents, Buffer.from('t'), given({ 'trusted.x': Buffer.from([0]) }))],
      [name('opaque'), directory([], given({ 'trusted.overlay.opaque': Buffer.from('y') }))],
      [name('none'), file(contents, Buffer.from('n'))],
    ],
    given({ 'user.directory': Buffer.from('yes') }),
  );
}

const empty = Buffer.alloc(0);

function sizes(contents: Contents): DirectoryNode {
  const lengths = [1, 4095, 4096, 4097, 131_072, 1_048_576, 1_048_577, 5_000_001];
  return directory(
    lengths.map((length) => {
      const bytes = Buffer.alloc(length);
      randomFillSync(bytes);
      return [name(`${length}`), file(contents, bytes)];
    }),
  );
}

function deep(levels: number): DirectoryNode {
  return directory(levels === 0 ? [] : [[name('d'), deep(levels - 1)]]);
}
