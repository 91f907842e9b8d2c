import t from 'tap';
import { ErofsImage } from '../../src/metadata/erofs-image.js';
import { writeErofs } from '../../src/metadata/erofs-writer.js';
import { resolvePath } from '../../src/metadata/resolve-path.js';
import { bytes, directory, file, symlink } from './tree-builders.js';

const chain = Object.fromEntries(
  Array.from({ length: 42 }, (_, i) => [`${i}`, symlink(i === 0 ? '/etc/passwd' : `${i - 1}`)]),
);
const image = ErofsImage.parse(
  writeErofs(
    directory({
      etc: directory({ passwd: file('root'), up: symlink('../../../etc/passwd') }),
      usr: directory({ bin: directory({ sh: file('#!'), '\xff': file('y') }) }),
      bin: symlink('usr/bin'),
      absolute: symlink('/usr/bin'),
      broken: symlink('nowhere/at/all'),
      loop: symlink('loop'),
      slash: symlink('usr/'),
      'file slash': symlink('etc/passwd/'),
      root: symlink('/'),
      chain: directory(chain),
    }),
  ),
);

function find(path: string, followLast = true): number {
  return resolvePath(image, bytes(path), { followLast });
}

t.test('paths of all forms lead to one inode', async (t) => {
  const sh = find('usr/bin/sh');
  t.equal(image.inode(sh).size, 2);
  for (const path of [
    '/usr/bin/sh',
    '//usr///bin//sh',
    './usr/./bin/sh',
    '/bin/sh',
    '/absolute/sh',
    '/etc/../bin/sh',
    '/bin/../bin/sh',
    '../../usr/bin/sh',
    '/root/root/bin/sh',
    '/slash/bin/sh',
  ]) {
    t.equal(find(path), sh, path);
  }
  t.equal(find('/bin/\xff'), image.lookup(find('/usr/bin'), bytes('\xff')));
  for (const path of ['', '/', '.', '..', '/..', '/usr/..', '/usr/../..', '/root']) {
    t.equal(find(path), image.rootNid, JSON.stringify(path));
  }
});

t.test('symlinks stay inside the image, and the last is followed if wanted', async (t) => {
  t.equal(find('/etc/up'), find('/etc/passwd'));
  t.equal(image.inode(find('/bin', false)).type, 'symlink');
  t.equal(find('/bin'), find('/usr/bin'));
  t.equal(find('/bin/', false), find('/usr/bin'), 'a slash at the end follows');
  t.equal(image.inode(find('/broken', false)).type, 'symlink');
});

t.test('what is not there is not found, and loops end', async (t) => {
  for (const [path, message] of [
    ['/usr/lib', /Cannot find \/usr\/lib in the image: "lib" does not exist/],
    ['/broken', /"nowhere" does not exist/],
    ['/etc/passwd/x', /what is before "x" is no directory/],
    ['/etc/passwd/', /what is before "." is no directory/],
    ['/etc/passwd/..', /what is before ".." is no directory/],
    ['/file slash', /is no directory/],
    [`/${'n'.repeat(256)}`, /does not exist/],
  ] as const) {
    t.throws(() => find(path), { code: 'not-found', message }, path.slice(0, 20));
  }
  t.throws(() => find('/loop'), { code: 'invalid', message: /more than 40 symlinks/ });
  t.equal(find('/chain/39'), find('/etc/passwd'), '40 links');
  t.throws(() => find('/chain/40'), { code: 'invalid', message: /more than 40 symlinks/ });
  t.throws(() => find('/a'.repeat(2049)), { code: 'invalid', message: /wanted at most 4096/ });
});
