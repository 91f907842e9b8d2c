import t from 'tap';
import { byteStringFromText } from '../../src/byte-string.js';
import { digestOf } from '../../src/digest.js';
import { ErofsImage, type TreeForm } from '../../src/metadata/erofs-image.js';
import { writeErofs } from '../../src/metadata/erofs-writer.js';
import { resolvePath } from '../../src/metadata/resolve-path.js';
import { manyNames } from './torture-tree.js';
import { bytes, device, directory, file, symlink } from './tree-builders.js';

t.test('an inode is told in full', async (t) => {
  const mtime = { seconds: -5, nanoseconds: 7 };
  const linked = file('hello', { mode: 0o4755, uid: 4_000_000_000, gid: 3, mtime });
  const image = ErofsImage.parse(
    writeErofs(directory({ a: linked, b: linked, d: directory(), tty: device('character', 5, 1) })),
  );
  const nid = image.lookup(image.rootNid, bytes('b')) ?? 0;
  t.same(image.inode(nid), {
    nid,
    type: 'file',
    mode: 0o4755,
    uid: 4_000_000_000,
    gid: 3,
    mtime,
    size: 5,
    nlink: 2,
    content: digestOf(Buffer.from('hello')),
  });
  t.match(image.inode(image.rootNid), { type: 'directory', nlink: 3 });
  const tty = image.inode(image.lookup(image.rootNid, bytes('tty')) ?? 0);
  t.match(tty, { type: 'character', device: { major: 5, minor: 1 } });
  t.equal(image.inodeCount, 4);
});

t.test('every name is found, and no other', async (t) => {
  const tree = manyNames(5000);
  const image = ErofsImage.parse(writeErofs(tree));
  const entries = image.readdir(image.rootNid);
  t.equal(entries.length, 5000);
  t.same(
    entries.map(({ name }) => name),
    [...tree.children.keys()].sort((a, b) => (a < b ? -1 : 1)),
  );
  for (const { name, nid } of entries) {
    if (image.lookup(image.rootNid, name) !== nid) t.fail(name);
    for (const other of [`${name}!`, `${name}\xff`, name.slice(0, -1), `!${name}`]) {
      const found = image.lookup(image.rootNid, bytes(other));
      if ((found !== undefined) !== tree.children.has(bytes(other))) t.fail(other);
    }
  }
  t.equal(image.lookup(image.rootNid, bytes('.')), image.rootNid);
  t.equal(image.lookup(image.rootNid, bytes('..')), image.rootNid);
  t.equal(image.lookup(image.rootNid, bytes('')), undefined);
});

t.test('bytes that threads share are read in place', async (t) => {
  const written = writeErofs(directory({ link: symlink('\xfftarget') }));
  const shared = Buffer.from(new SharedArrayBuffer(written.length));
  written.copy(shared);
  const image = ErofsImage.parse(shared);
  t.equal(image.readlink(image.lookup(image.rootNid, bytes('link')) ?? 0), '\xfftarget');
});

t.test(
  'overlay xattrs and 0:0 devices have one form for people and one for overlayfs',
  async (t) => {
    const image = ErofsImage.parse(
      writeErofs(
        directory({
          gone: device('character', 0, 0, { mode: 0o600, xattrs: { 'user.a': 'b' } }),
          file: file('x', { xattrs: { 'trusted.overlay.opaque': 'y', 'security.b': 'c' } }),
        }),
      ),
    );
    function seen(path: string, form: TreeForm): unknown {
      const nid = resolvePath(image, byteStringFromText(path), { followLast: true });
      const { type, size, device: number } = image.inode(nid, form);
      const xattrs = [...image.xattrs(nid, form)].map(([name, value]) => `${name}=${value}`);
      return [type, size, number, xattrs.sort((a, b) => (a < b ? -1 : 1))];
    }
    function types(form: TreeForm): string[] {
      return image.readdir(image.rootNid, form).map(({ name, type }) => `${name} ${type}`);
    }
    const zero = { major: 0, minor: 0 };
    t.same(seen('gone', 'image'), ['character', 0, zero, ['user.a=b']]);
    t.same(seen('file', 'image'), [
      'file',
      1,
      undefined,
      ['security.b=c', 'trusted.overlay.opaque=y'],
    ]);
    t.same((seen('/', 'image') as unknown[])[3], []);
    t.same(types('image'), ['file file', 'gone character']);

    const whiteout = ['trusted.overlay.overlay.whiteout=', 'user.a=b'];
    t.same(seen('gone', 'overlay-lower'), ['file', 0, undefined, whiteout]);
    const escaped = ['security.b=c', 'trusted.overlay.overlay.opaque=y'];
    t.same(seen('file', 'overlay-lower'), ['file', 1, undefined, escaped]);
    t.same((seen('/', 'overlay-lower') as unknown[])[3], [
      'trusted.overlay.overlay.opaque=x',
      'trusted.overlay.overlay.whiteouts=',
    ]);
    t.same(types('overlay-lower'), ['file file', 'gone file']);
  },
);
