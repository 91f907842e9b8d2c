import t from 'tap';
import { type ErrorCode, isThinError } from '../../src/errors.js';
import { crc32c } from '../../src/metadata/crc32c.js';
import { diffImages } from '../../src/metadata/diff-images.js';
import { ErofsImage } from '../../src/metadata/erofs-image.js';
import { writeErofs } from '../../src/metadata/erofs-writer.js';
import { resolvePath } from '../../src/metadata/resolve-path.js';
import { toTree } from '../../src/metadata/to-tree.js';
import fc from '../support/properties.js';
import { tortureTree } from './torture-tree.js';
import { bytes, device, directory, file, symlink } from './tree-builders.js';

const linked = file('linked');
/** A small image with every kind of record, so that a random change hits something. */
const small = writeErofs(
  directory({
    files: directory({ a: file('a'), b: file('b', { xattrs: { 'user.a': 'v' } }), empty: file() }),
    large: directory(
      Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`name-${i}`, linked])),
    ),
    links: directory({ to: symlink('../files/a'), loop: symlink('loop'), up: symlink('..') }),
    nodes: directory({ gone: device('character', 0, 0), null: device('character', 1, 3) }),
    shared: file('s', { xattrs: { 'user.a': 'v', 'trusted.overlay.opaque': 'y' } }),
  }),
);

/** With the checksum of what is there: a hostile author computes it too. */
function signed(image: Buffer): Buffer {
  if (image.length < 4096) return image;
  image.writeUInt32LE(0, 1028);
  image.writeUInt32LE(crc32c(image.subarray(1024, 4096)), 1028);
  return image;
}

/** Everything that anyone does with an image. Throws what is not for hostile bytes to cause. */
function useAll(image: Buffer): void {
  expectOnly(['corrupt', 'invalid'], () => ErofsImage.parse(image));
  let read: ErofsImage;
  try {
    read = ErofsImage.parse(image);
  } catch {
    return;
  }
  expectOnly(['corrupt'], () => toTree(read));
  expectOnly(['corrupt'], () => [...diffImages(read, ErofsImage.parse(small))].length);
  expectOnly(['corrupt', 'not-found', 'invalid'], () =>
    resolvePath(read, bytes('/links/to'), { followLast: true }),
  );
  for (let nid = 0; nid <= image.length / 32; nid += 1) {
    for (const form of ['image', 'overlay-lower'] as const) {
      expectOnly(['corrupt'], () => read.inode(nid, form));
      expectOnly(['corrupt'], () => read.xattrs(nid, form));
      expectOnly(['corrupt', 'invalid'], () => read.readdir(nid, form));
    }
    expectOnly(['corrupt', 'invalid'], () => read.readlink(nid));
    expectOnly(['corrupt', 'invalid'], () => read.lookup(nid, bytes('name-77')));
  }
}

function expectOnly(codes: readonly ErrorCode[], action: () => unknown): void {
  try {
    action();
  } catch (error) {
    if (!isThinError(error, ...codes)) throw error;
  }
}

t.test('random bytes are refused', async () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 9000 }), (bytes) => useAll(Buffer.from(bytes))),
    { numRuns: 100 },
  );
});

t.test('a truncated image is refused', async (t) => {
  for (let length = 0; length < small.length; length += 97) {
    const cut = small.subarray(0, length);
    t.throws(() => ErofsImage.parse(Buffer.from(cut)), { code: 'corrupt' }, `${length} bytes`);
    useAll(signed(Buffer.from(cut)));
  }
});

const change = fc.record({
  /** Mostly where the superblock and the inodes are. */
  at: fc.oneof(fc.integer({ min: 1024, max: 8191 }), fc.nat(small.length - 1)),
  bytes: fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 8 }),
    fc.constantFrom(...['00', 'ff', '0000', 'ffff', '00000000', 'ffffffff', 'ffffff7f'].map(hex)),
  ),
});

function hex(digits: string): Uint8Array {
  return Buffer.from(digits, 'hex');
}

t.test('a changed image gives answers or an error, and soon', async () => {
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 6 }), (changes) => {
      const image = Buffer.from(small);
      for (const { at, bytes } of changes) {
        image.set(bytes.subarray(0, image.length - at), at);
      }
      useAll(signed(image));
    }),
    { numRuns: 150 },
  );
});

t.test('the checksum covers the superblock and the inodes behind it', async (t) => {
  for (let at = 1024; at < 4096; at += 61) {
    const image = Buffer.from(small);
    image[at] = (image[at] ?? 0) ^ 1;
    t.throws(() => ErofsImage.parse(image), { code: 'corrupt' }, `byte ${at}`);
  }
});

/** A change at an offset of the superblock, and what is said about it. */
const refused: [string, number, string, ErrorCode, RegExp][] = [
  ['another file system', 0, '00', 'corrupt', /magic number/],
  ['an unknown feature', 80, '05', 'invalid', /needs features 0x5 .*a newer thinfs reads it/],
  ['compression', 81, '01', 'invalid', /needs features 0x104 .*a newer thinfs reads it/],
  ['a newer version', 71, '32', 'invalid', /its version is 2 .*a newer thinfs reads it/],
  ['another writer', 64, '00'.repeat(16), 'corrupt', /volume name is ""/],
  ['no checksum', 8, '02', 'corrupt', /it has no checksum/],
  ['blocks of 64 KiB', 12, '10', 'corrupt', /block bits is 16/],
  ['superblock extensions', 13, '01', 'corrupt', /extension slots is 1/],
  ['metadata elsewhere', 40, '01', 'corrupt', /metadata block is 1/],
  ['larger directory blocks', 90, '01', 'corrupt', /directory block bits is 1/],
  ['more blocks than there are', 36, 'ff', 'corrupt', /size is \d+ \(wanted 1044480\)/],
  ['a root outside of the image', 14, 'ffff', 'corrupt', /bytes at 2097120 are wanted/],
];

t.test('images of newer versions and other writers are refused, each for its reason', async (t) => {
  for (const [what, offset, digits, code, message] of refused) {
    const image = Buffer.from(small);
    image.set(hex(digits), 1024 + offset);
    t.throws(() => ErofsImage.parse(signed(image)), { code, message }, what);
  }
});

t.test('a compact inode and an unknown data layout are refused', async (t) => {
  for (const format of [0, 3, 4, 7, 9, 0x11, 0x8005]) {
    const image = Buffer.from(small);
    image.writeUInt16LE(format, 36 * 32);
    const wanted = { code: 'corrupt', message: /inode 36/ };
    t.throws(() => toTree(ErofsImage.parse(signed(image))), wanted, `format ${format}`);
  }
});

t.test('a directory that is inside itself is found out', async (t) => {
  const inside = directory({ again: directory() });
  const image = writeErofs(directory({ top: inside }));
  const read = ErofsImage.parse(image);
  const top = read.lookup(read.rootNid, bytes('top')) ?? 0;
  const again = read.lookup(top, bytes('again')) ?? 0;
  const record = image.indexOf(u64(again), top * 32 + 64);
  image.writeUInt32LE(top, record);
  const cyclic = ErofsImage.parse(signed(image));
  t.throws(() => toTree(cyclic), { code: 'corrupt', message: /has two names/ });
  t.throws(() => [...diffImages(cyclic, cyclic)], { code: 'corrupt' });
  t.equal(resolvePath(cyclic, bytes('/top/again/again'), { followLast: true }), top);
});

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(value);
  return bytes;
}

t.test('names out of order, or twice, are found out', async (t) => {
  for (const [name, other] of [
    ['b', 'z'],
    ['c', 'b'],
  ] as const) {
    const image = writeErofs(directory({ [`${name}-name`]: file(), 'd-name': file() }));
    image.write(other, image.indexOf(`${name}-name`), 'latin1');
    const read = ErofsImage.parse(signed(image));
    if (other === 'b') t.equal(read.readdir(read.rootNid).length, 2, 'still in order');
    else t.throws(() => read.readdir(read.rootNid), { code: 'corrupt', message: /out of order/ });
  }
  const twice = writeErofs(directory({ 'c-name': file(), 'd-name': file() }));
  twice.write('d', twice.indexOf('c-name'), 'latin1');
  t.throws(() => toTree(ErofsImage.parse(signed(twice))), { message: /out of order/ });
});

t.test('directories that share their bytes do not multiply the work', async (t) => {
  const names = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`d${i}`, directory()]));
  const files = Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`f${i}`, file()]));
  const image = writeErofs(directory({ many: directory(files), names: directory(names) }));
  const read = ErofsImage.parse(image);
  const many = image.subarray((read.lookup(read.rootNid, bytes('many')) ?? 0) * 32).subarray(0, 20);
  for (const { nid } of read.readdir(read.lookup(read.rootNid, bytes('names')) ?? 0)) {
    // Flat, so that every one of them is whole: the last block is not inline.
    many.copy(image, nid * 32);
    image.writeUInt16LE(1, nid * 32);
    image.writeUInt32LE(20 * 4096, nid * 32 + 8);
  }
  t.throws(() => toTree(ErofsImage.parse(signed(image))), {
    code: 'corrupt',
    message: /directories share bytes/,
  });
});

t.test('the image of every shape survives changes of single bytes', async () => {
  const large = writeErofs(tortureTree());
  fc.assert(
    fc.property(fc.nat(400_000), fc.nat(255), (at, byte) => {
      const image = Buffer.from(large);
      image[1024 + at] = byte;
      expectOnly(['corrupt', 'invalid'], () => toTree(ErofsImage.parse(signed(image))));
    }),
    { numRuns: 30 },
  );
});
