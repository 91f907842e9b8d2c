import type { DirectoryNode } from '../../src/image/tree.js';
import { device, directory, fifo, file, largeFile, socket, symlink } from './tree-builders.js';

/** What is in `fixtures/metadata/v1-every-shape.erofs`. It never changes: a new shape is a new file. */
export function fixtureTree(): DirectoryNode {
  const linked = file('linked', { mode: 0o755 });
  const label = { 'security.selinux': 'system_u:object_r:container_file_t:s0' };
  return directory(
    {
      bin: symlink('usr/bin'),
      usr: directory({ bin: directory({ linked, 'linked too': linked }) }),
      dev: directory({
        null: device('character', 1, 3, { mode: 0o666 }),
        sda: device('block', 300, 70_000),
        fifo: fifo(),
        socket: socket(),
      }),
      names: directory({
        '\xff\n': file('a', { xattrs: label }),
        '!': file('', { xattrs: label }),
      }),
      'two blocks': directory(
        Object.fromEntries(Array.from({ length: 250 }, (_, i) => [`name ${i}`, linked])),
      ),
      'link of 4095 bytes': symlink('t'.repeat(4095)),
      large: largeFile(2 ** 33, { mtime: { seconds: -1, nanoseconds: 999_999_999 } }),
      ids: file('b', { uid: 4_000_000_000, gid: 4_294_967_294, mode: 0o6711 }),
      layers: directory(
        { gone: device('character', 0, 0), here: file('here') },
        { xattrs: { 'trusted.overlay.redirect': '/etc', 'user.own': Buffer.from([0, 255]) } },
      ),
    },
    { mtime: { seconds: 1_600_000_000, nanoseconds: 123_456_789 } },
  );
}
