import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { byteStringFromText as name } from '../../src/byte-string.js';
import { openRawTree } from '../../src/fuse/raw-tree-server.js';
import type { ImageConfig } from '../../src/image/image-config.js';
import type { DirectoryNode, TreeNode } from '../../src/image/tree.js';
import { type BundleOptions, writeBundle } from '../../src/mount/bundle.js';
import { mountOverlay, type Overlay } from '../../src/mount/overlay.js';
import { type ContainerKey, deleteContainer, findRuntime } from '../../src/mount/runc.js';
import { mountTree, readFrom, temporaryFolder } from '../fuse/mounted-tree.js';
import { type Contents, directory, file } from '../fuse/torture-tree.js';
import { cleanUp } from '../support/clean-up.js';

const programs = 'sh cat grep hostname id ip ls mknod mount sleep stat tail touch wc'.split(' ');

const passwd = 'root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/var/www:/bin/sh\n';
const group = 'root:x:0:\nweb:x:34:\ntape:x:26:web\n';

/** A small image: busybox, two accounts, and nothing of what a container needs to be made. */
export async function busyboxTree(contents: Contents): Promise<DirectoryNode> {
  const busybox = file(contents, await readFile('/bin/busybox'), { mode: 0o755 });
  const text = (body: string): TreeNode => file(contents, Buffer.from(body));
  return directory([
    [name('bin'), directory(programs.map((program) => [name(program), busybox]))],
    [
      name('etc'),
      directory([
        [name('passwd'), text(passwd)],
        [name('group'), text(group)],
      ]),
    ],
    [name('notes'), text('of the image\n')],
    [name('not-a-program'), text('text\n')],
  ]);
}

export interface PreparedContainer extends ContainerKey {
  readonly bundle: string;
  readonly overlay: Overlay;
}

let made = 0;

/** Tree, writable view and bundle of a busybox container; all of it ends with the test. */
export async function prepareContainer(
  t: Parameters<typeof temporaryFolder>[0],
  command: readonly string[],
  options: Partial<BundleOptions> & { readonly image?: ImageConfig['config'] } = {},
): Promise<PreparedContainer> {
  const contents: Contents = new Map();
  const tree = await busyboxTree(contents);
  const folder = await temporaryFolder(t, 'mount');
  const lower = await mountTree(t, openRawTree, tree, readFrom(contents), {
    form: 'overlay-lower',
  });
  const overlay = await mountOverlay({ lower: lower.mountPoint, directory: folder });
  cleanUp(t, async () => overlay[Symbol.asyncDispose]());
  made += 1;
  const key = {
    id: `test-${process.pid}-${made}`,
    root: join(folder, 'runtime'),
    runtime: findRuntime(),
  };
  const { image, ...rest } = options;
  const config: ImageConfig = {
    architecture: 'amd64',
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: [] },
    ...(image && { config: image }),
  };
  const { directory: bundle } = await writeBundle({
    directory: join(folder, 'bundle'),
    id: key.id,
    rootfs: overlay.merged,
    config,
    readImageFile: (path) => readFile(join(lower.mountPoint, path)),
    command,
    env: [],
    volumes: [],
    network: 'none',
    readOnly: false,
    terminal: false,
    ...rest,
  });
  cleanUp(t, async () => deleteContainer(key));
  return { ...key, bundle, overlay };
}
