import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { byteStringFromText } from '../../src/byte-string.js';
import { unmountPath } from '../../src/fuse/kernel-mount.js';
import { findMount, readMountTable } from '../../src/fuse/mount-table.js';
import { mountComposed } from '../../src/mount/composed-mount.js';
import { mountMetadata, unmountMetadata } from '../../src/mount/metadata-mount.js';
import { temporaryFolder, until } from '../fuse/mounted-tree.js';
import { directory } from '../fuse/torture-tree.js';
import { mountTreeMetadata } from './composed-tree.js';
import { loopFiles } from './loop-files.js';

t.test('is mounted once, however often it is asked for, and taken away', async (t) => {
  const folder = await temporaryFolder(t, 'mount');
  const { image, mountPoint, form } = await mountTreeMetadata(t, folder, directory([]));
  t.strictSame(await mountMetadata({ image, mountPoint }), { mountPoint, form });
  const here = (await readMountTable()).filter(
    (entry) => entry.mountPoint === byteStringFromText(mountPoint),
  );
  t.equal(here.length, 1);
  await unmountMetadata(mountPoint);
  t.equal(await findMount(mountPoint), undefined);
  await unmountMetadata(mountPoint);
  await unmountMetadata(join(folder, 'nowhere'));
});

t.test('an image that is none, or is not there, is an error and leaves nothing', async (t) => {
  const mountPoint = await temporaryFolder(t, 'mount');
  const image = join(await temporaryFolder(t, 'mount'), 'image');
  await t.rejects(mountMetadata({ image, mountPoint }), { code: 'not-found' });
  await writeFile(image, Buffer.alloc(8192, 1));
  await t.rejects(mountMetadata({ image, mountPoint }), { message: /Cannot mount erofs/ });
  t.equal(await findMount(mountPoint), undefined);
  await until('no loop device is left', async () => {
    return !(await loopFiles()).some((file) => file.startsWith(image));
  });
});

t.test('a container goes on when the metadata is unmounted from its folder', async (t) => {
  const folder = await temporaryFolder(t, 'mount');
  const tree = directory([[byteStringFromText('inside'), directory([])]]);
  const { mountPoint } = await mountTreeMetadata(t, folder, tree);
  const target = join(folder, 'target');
  await mkdir(target);
  t.teardown(() => unmountPath(target));
  await mountComposed({ metadata: mountPoint, data: [folder], target });
  await unmountMetadata(mountPoint);
  t.strictSame(await readdir(target), ['inside']);
});
