import { execFile } from 'node:child_process';
import {
  appendFile,
  chmod,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { byteStringFromText as name } from '../../src/byte-string.js';
import { findMount } from '../../src/fuse/mount-table.js';
import { openRawTree } from '../../src/fuse/raw-tree-server.js';
import type { DirectoryNode } from '../../src/image/tree.js';
import { mountOverlay } from '../../src/mount/overlay.js';
import { mountTree, readFrom, temporaryFolder } from '../fuse/mounted-tree.js';
import { type Contents, directory, file, tortureTree } from '../fuse/torture-tree.js';
import { expectedSnapshot } from '../fuse/tree-expectation.js';
import { compareTrees, describeDifferences, snapshotTree } from '../support/compare-trees.js';

const run = promisify(execFile);

async function mountWritable(
  t: Parameters<typeof temporaryFolder>[0],
  tree: DirectoryNode,
  contents: Contents,
  place = '',
) {
  const folder = join(await temporaryFolder(t, 'mount'), place);
  await mkdir(folder, { recursive: true });
  const options = { form: 'overlay-lower', allowOther: true } as const;
  const lower = await mountTree(t, openRawTree, tree, readFrom(contents), options);
  const overlay = await mountOverlay({ lower: lower.mountPoint, directory: folder });
  t.teardown(async () => overlay[Symbol.asyncDispose]());
  return { ...lower, overlay };
}

t.test('shows the tree as it is, but devices 0:0', async (t) => {
  const contents: Contents = new Map();
  const tree = tortureTree(contents);
  tree.children.delete(name('types'));
  const { overlay } = await mountWritable(t, tree, contents);
  const seen = await snapshotTree(overlay.merged);
  t.equal(describeDifferences(compareTrees(expectedSnapshot(tree), seen)), '');
});

t.test('a device 0:0 of the image, which would hide a file, is an empty file', async (t) => {
  const device = {
    ...file(new Map(), Buffer.alloc(0)),
    type: 'character' as const,
    device: { major: 0, minor: 0 },
  };
  const tree = directory([[name('dev'), directory([[name('zero'), device]])]]);
  const { overlay, mountPoint } = await mountWritable(t, tree, new Map());
  t.ok((await stat(join(overlay.merged, 'dev/zero'))).isFile());
  t.ok((await stat(join(mountPoint, 'dev/zero'))).isFile());
});

t.test(
  'changes stay above: write, remove, chmod, rename, new folders in place of old',
  async (t) => {
    const contents: Contents = new Map();
    const body = (text: string) => file(contents, Buffer.from(text));
    const tree = directory([
      [name('written'), body('before\n')],
      [name('cut'), body('0123456789')],
      [name('removed'), body('x')],
      [name('mode'), body('y')],
      [name('moved'), body('z')],
      [name('folder'), directory([[name('inside'), body('i')]])],
      [name('kept'), directory([[name('inside'), body('k')]])],
    ]);
    const { overlay, mountPoint } = await mountWritable(t, tree, contents);
    const at = (path: string) => join(overlay.merged, path);
    await appendFile(at('written'), 'after\n');
    await truncate(at('cut'), 4);
    await rm(at('removed'));
    await chmod(at('mode'), 0o600);
    await rename(at('moved'), at('kept/moved'));
    await rm(at('folder'), { recursive: true });
    await mkdir(at('folder'));
    await writeFile(at('new'), 'n');

    t.equal(await readFile(at('written'), 'utf8'), 'before\nafter\n');
    t.equal(await readFile(at('cut'), 'utf8'), '0123');
    t.equal((await stat(at('mode'))).mode & 0o777, 0o600);
    t.equal(await readFile(at('kept/moved'), 'utf8'), 'z');
    t.strictSame(await readdir(at('folder')), [], 'what was inside does not come back');
    t.strictSame((await readdir(at('kept'))).sort(), ['inside', 'moved']);
    await t.rejects(stat(at('removed')), { code: 'ENOENT' });
    await t.rejects(rename(at('kept'), at('other')), { code: 'EXDEV' }, 'as in docker');

    t.equal(
      await readFile(join(mountPoint, 'written'), 'utf8'),
      'before\n',
      'the image is as it was',
    );
    t.equal((await lstat(join(overlay.upper, 'removed'))).rdev, 0, 'a whiteout');
    t.strictSame((await readdir(overlay.upper)).includes('new'), true);
  },
);

t.test('inode numbers: one device, kept by a change and by a remount', async (t) => {
  const contents: Contents = new Map();
  const tree = directory([
    [name('a'), file(contents, Buffer.from('a'))],
    [name('d'), directory([[name('b'), file(contents, Buffer.from('b'))]])],
  ]);
  const { overlay, mountPoint } = await mountWritable(t, tree, contents);
  const identity = async () =>
    Promise.all(
      ['a', 'd', 'd/b'].map(async (path) => {
        const { dev, ino } = await stat(join(overlay.merged, path), { bigint: true });
        return { dev, ino };
      }),
    );
  const before = await identity();
  t.equal(new Set(before.map(({ dev }) => dev)).size, 1);
  await chmod(join(overlay.merged, 'a'), 0o600);
  t.strictSame(await identity(), before);
  await overlay.unmount();
  const again = await mountOverlay({ lower: mountPoint, directory: join(overlay.merged, '..') });
  t.teardown(async () => again[Symbol.asyncDispose]());
  t.strictSame(
    (await identity()).map(({ ino }) => ino),
    before.map(({ ino }) => ino),
  );
});

t.test('any path can hold the changes', async (t) => {
  const contents: Contents = new Map();
  const tree = directory([[name('f'), file(contents, Buffer.from('f'))]]);
  const place = 'comma, colon: back\\slash "quoted" é';
  const { overlay } = await mountWritable(t, tree, contents, place);
  await writeFile(join(overlay.merged, 'new'), 'n');
  t.strictSame(await readdir(overlay.upper), ['new']);
});

t.test('a setuid program has its right in the writable view, and not in the tree', async (t) => {
  const contents: Contents = new Map();
  const id = file(contents, await readFile('/usr/bin/id'), { mode: 0o4755 });
  const { overlay, mountPoint } = await mountWritable(t, directory([[name('id'), id]]), contents);
  const effectiveUser = async (folder: string) => {
    const args = ['--reuid=1234', '--clear-groups', join(folder, 'id'), '-u'];
    return (await run('setpriv', args)).stdout.trim();
  };
  await chmod(join(overlay.merged, '..'), 0o755);
  t.equal(await effectiveUser(overlay.merged), '0');
  t.equal(await effectiveUser(mountPoint), '1234');
});

t.test('says what is missing', async (t) => {
  const directoryPath = await temporaryFolder(t, 'mount');
  const options = { lower: '/nonexistent', directory: directoryPath };
  await t.rejects(mountOverlay(options), { name: 'ThinError', code: 'not-found' });
});

t.test('is not unmounted while it is used', async (t) => {
  const { overlay } = await mountWritable(t, directory([]), new Map());
  await writeFile(join(overlay.merged, 'f'), 'x');
  const handle = await open(join(overlay.merged, 'f'));
  await t.rejects(overlay.unmount(), { code: 'busy' });
  await handle.close();
  await overlay.unmount();
  t.equal(await findMount(overlay.merged), undefined);
});
