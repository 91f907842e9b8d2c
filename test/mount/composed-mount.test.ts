import { execFile } from 'node:child_process';
import {
  appendFile,
  chmod,
  chown,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';
import { withScratchDisk } from '../../scripts/bench/scratch-disk.js';
import { splitImage } from '../../scripts/split-image.js';
import { byteStringFromText as name } from '../../src/byte-string.js';
import { tierPath } from '../../src/cache/layout.js';
import { type Digest, digestHex } from '../../src/digest.js';
import { detachPath, unmountPath } from '../../src/fuse/kernel-mount.js';
import { findMount } from '../../src/fuse/mount-table.js';
import { openRawTree } from '../../src/fuse/raw-tree-server.js';
import type { DirectoryNode, FileNode } from '../../src/image/tree.js';
import { mountComposed, refreshComposed } from '../../src/mount/composed-mount.js';
import { mountTree, readFrom, temporaryFolder } from '../fuse/mounted-tree.js';
import { type Contents, directory, file, tortureTree } from '../fuse/torture-tree.js';
import { expectedSnapshot } from '../fuse/tree-expectation.js';
import { compareTrees, describeDifferences, snapshotTree } from '../support/compare-trees.js';
import { extractWithTar } from '../support/extract-image.js';
import { testImage } from '../support/images.js';
import { runCommand } from '../support/run-command.js';
import { composeTree, fillTier, mountTreeMetadata } from './composed-tree.js';

const run = promisify(execFile);
type Test = Parameters<typeof temporaryFolder>[0];

/** Files by content, as the file server has them: a mount that counts what is read of it. */
async function mountObjects(t: Test, contents: Contents) {
  const folders = new Map<string, [ReturnType<typeof name>, FileNode][]>();
  for (const [content, bytes] of contents) {
    const hex = digestHex(content);
    const files = folders.get(hex.slice(0, 2)) ?? [];
    folders.set(hex.slice(0, 2), [...files, [name(hex), file(contents, bytes)]]);
  }
  const tree = directory([...folders].map(([folder, files]) => [name(folder), directory(files)]));
  const reads: Digest[] = [];
  const readFile = readFrom(contents);
  const { mountPoint } = await mountTree(t, openRawTree, tree, async (content, ...rest) => {
    reads.push(content);
    return readFile(content, ...rest);
  });
  return { mountPoint, reads };
}

function smallTree(contents: Contents): DirectoryNode {
  const body = (text: string) => file(contents, Buffer.from(text));
  return directory([
    [name('a'), body('content of a\n')],
    [name('b'), body('content of b\n')],
    [name('folder'), directory([[name('inside'), body('inside\n')]])],
  ]);
}

t.setTimeout(400_000); // whole images are read in two ways

for (const image of ['torture', 'busybox'] as const) {
  t.test(`${image}: every path is what GNU tar extracts, writable and read-only`, async (t) => {
    const folder = await temporaryFolder(t, 'mount');
    const layout = await testImage(image);
    const [root, tier] = [join(folder, 'root'), join(folder, 'tier')];
    await extractWithTar(layout, root);
    const expected = await snapshotTree(root);
    const tree = await splitImage(layout, tier);
    const { target, mount } = await composeTree(t, tree, new Map(), { folder });
    const differences = compareTrees(expected, await snapshotTree(target));
    t.equal(describeDifferences(differences), '');
    await unmountPath(target);
    await mountComposed({ ...mount, changes: undefined });
    t.equal(describeDifferences(compareTrees(expected, await snapshotTree(target))), '');
  });
}

t.test('everything a tree can hold, but devices 0:0, which are empty files', async (t) => {
  const contents: Contents = new Map();
  const tree = tortureTree(contents);
  const { target } = await composeTree(t, tree, contents);
  t.ok((await stat(join(target, 'types/whiteout'))).isFile());
  tree.children.delete(name('types'));
  await rm(join(target, 'types'), { recursive: true });
  const [expected, seen] = [expectedSnapshot(tree), await snapshotTree(target)];
  const differences = compareTrees(expected, seen).filter(({ path }) => path !== '');
  t.equal(describeDifferences(differences), '');
});

t.test('the root looks like the image, in upper as in the tree', async (t) => {
  const root = directory([], {
    mode: 0o1711,
    uid: 12,
    gid: 4_000_000_000,
    mtime: { seconds: -5, nanoseconds: 123_456_789 },
    xattrs: new Map([[name('user.of'), Buffer.from('the root')]]),
  });
  for (const readOnly of [false, true]) {
    const { target } = await composeTree(t, root, new Map(), { readOnly });
    const seen = await snapshotTree(target);
    t.equal(describeDifferences(compareTrees(expectedSnapshot(root), seen)), '', `${readOnly}`);
  }
});

t.test('metadata: the file itself, over a loop device where that cannot be', async (t) => {
  const contents: Contents = new Map();
  const tree = smallTree(contents);
  t.equal((await composeTree(t, tree, contents)).form, 'file');
  const memory = await temporaryFolder(t, 'mount');
  await runCommand('mount', ['-t', 'tmpfs', 'mount-test', memory]);
  t.teardown(() => detachPath(memory));
  const { form, target, image } = await composeTree(t, tree, contents, { folder: memory });
  t.equal(form, 'loop');
  t.equal(await readFile(join(target, 'a'), 'utf8'), 'content of a\n');
  const { stdout } = await run('losetup', ['--json', '--list', '-O', 'BACK-FILE,RO,AUTOCLEAR']);
  const { loopdevices } = JSON.parse(stdout);
  const [device] = loopdevices.filter((at: { 'back-file': string }) => at['back-file'] === image);
  t.match(device, { ro: true, autoclear: true });
});

t.test('any path, of any length', async (t) => {
  const contents: Contents = new Map();
  const tree = smallTree(contents);
  const odd = 'comma, colon: back\\slash "quoted" é = +\n';
  for (const place of [odd, join('x'.repeat(200), 'y'.repeat(200)), join('l'.repeat(250), odd)]) {
    const folder = join(await temporaryFolder(t, 'mount'), place);
    await mkdir(folder, { recursive: true });
    const { target, upper } = await composeTree(t, tree, contents, { folder });
    t.equal(await readFile(join(target, 'folder/inside'), 'utf8'), 'inside\n');
    await appendFile(join(target, 'a'), 'more');
    t.equal(await readFile(join(upper, 'a'), 'utf8'), 'content of a\nmore');
    await refreshComposed(target, false);
  }
});

t.test('of two directories that have a file, the first is read', async (t) => {
  const contents: Contents = new Map();
  const tree = smallTree(contents);
  const folder = await temporaryFolder(t, 'mount');
  const data = [join(folder, 'first'), join(folder, 'second'), join(folder, 'tier')];
  const [[a], [b]] = [...contents] as [[Digest, Buffer], [Digest, Buffer]];
  await fillTier(data[0] ?? '', new Map([[a, Buffer.from('CONTENT of a\n')]]));
  const second = Buffer.from('CONTENT of -\n');
  await fillTier(data[1] ?? '', new Map([a, b].map((content) => [content, second])));
  const { target } = await composeTree(t, tree, contents, { folder, data });
  t.equal(await readFile(join(target, 'a'), 'utf8'), 'CONTENT of a\n');
  t.equal(await readFile(join(target, 'b'), 'utf8'), 'CONTENT of -\n');
  t.equal(await readFile(join(target, 'folder/inside'), 'utf8'), 'inside\n');
});

t.test('what nobody has can be looked at, and not read', async (t) => {
  const tree = smallTree(new Map());
  const { target, tier } = await composeTree(t, tree, new Map());
  t.equal((await stat(join(target, 'a'))).size, 13);
  await t.rejects(readFile(join(target, 'a')), { code: 'ENOENT' });
  const contents: Contents = new Map();
  smallTree(contents);
  await fillTier(tier, contents);
  t.equal(await readFile(join(target, 'a'), 'utf8'), 'content of a\n', 'asked for again');
});

for (const readOnly of [false, true]) {
  const form = readOnly ? 'read-only' : 'with changes';
  t.test(`refresh makes a file that came to the tier be read from it, ${form}`, async (t) => {
    const contents: Contents = new Map();
    const tree = smallTree(contents);
    const [content = '' as Digest, bytes = Buffer.alloc(0)] = [...contents][0] ?? [];
    const objects = await mountObjects(t, contents);
    const folder = await temporaryFolder(t, 'mount');
    const tier = join(folder, 'local');
    await mkdir(tier);
    const data = [tier, objects.mountPoint];
    const { target } = await composeTree(t, tree, contents, { folder, data, readOnly });
    const read = () => readFile(join(target, 'a'), 'utf8');
    t.equal(await read(), 'content of a\n');
    t.strictSame(objects.reads, [content]);

    await fillTier(tier, new Map([[content, Buffer.from(bytes.toString().toUpperCase())]]));
    t.equal(await read(), 'content of a\n', 'where it was is remembered');
    await refreshComposed(target, readOnly);
    t.equal(await read(), 'CONTENT OF A\n');
    await rm(tierPath(tier, content));
    await refreshComposed(target, readOnly);
    t.equal(await read(), 'content of a\n', 'an evicted one is read from behind again');
    await t.rejects(refreshComposed(join(folder, 'nowhere'), readOnly), { code: 'not-found' });
  });
}

t.test('attributes and names change without a read of the content', async (t) => {
  const contents: Contents = new Map();
  const tree = smallTree(contents);
  const objects = await mountObjects(t, contents);
  const data = [objects.mountPoint];
  const { target, upper } = await composeTree(t, tree, contents, { data });
  await chmod(join(target, 'a'), 0o4711);
  await chown(join(target, 'b'), 77, 78);
  await utimes(join(target, 'folder/inside'), 1, 2);
  await rename(join(target, 'folder'), join(target, 'renamed'));
  t.strictSame(objects.reads, []);
  t.match(await stat(join(target, 'a')), { mode: 0o104711, size: 13 });
  t.match(await stat(join(target, 'b')), { uid: 77, gid: 78 });
  t.match(await stat(join(target, 'renamed/inside')), { mtimeMs: 2000 });
  t.equal(await readFile(join(target, 'renamed/inside'), 'utf8'), 'inside\n');
  t.equal(await readFile(join(target, 'a'), 'utf8'), 'content of a\n');
  t.equal(objects.reads.length, 2);
  await appendFile(join(target, 'b'), 'and more\n');
  t.equal(await readFile(join(upper, 'b'), 'utf8'), 'content of b\nand more\n');
});

t.test('changes are kept over a new mount, and the image is as it was', async (t) => {
  const contents: Contents = new Map();
  const made = await composeTree(t, smallTree(contents), contents);
  const { target, mount } = made;
  await chmod(target, 0o700);
  await writeFile(join(target, 'new'), 'new');
  await rm(join(target, 'a'));
  const before = await stat(join(target, 'folder'), { bigint: true });
  await unmountPath(target);
  await mountComposed(mount);
  t.equal((await stat(target)).mode & 0o777, 0o700, 'also of the root');
  t.strictSame((await readdir(target)).sort(), ['b', 'folder', 'new']);
  t.equal((await stat(join(target, 'folder'), { bigint: true })).ino, before.ino);
  t.strictSame((await readdir(mount.metadata)).sort(), ['a', 'b', 'folder']);
});

t.test('changes on an ext4 of their own; one device number for all', async (t) => {
  const contents: Contents = new Map();
  const tree = smallTree(contents);
  await withScratchDisk(64 * 2 ** 20, async (disk) => {
    const folder = await temporaryFolder(t, 'mount');
    const { mount } = await composeTree(t, tree, contents, { folder, readOnly: true });
    const target = join(folder, 'writable');
    const changes = { upper: join(disk, 'upper'), work: join(disk, 'work') };
    await mountComposed({ ...mount, target, changes });
    try {
      await appendFile(join(target, 'folder/inside'), 'changed');
      const paths = ['.', 'a', 'folder', 'folder/inside'];
      const seen = await Promise.all(paths.map((path) => stat(join(target, path))));
      t.equal(new Set(seen.map(({ dev }) => dev)).size, 1);
      t.equal(await readFile(join(disk, 'upper/folder/inside'), 'utf8'), 'inside\nchanged');
    } finally {
      await unmountPath(target);
    }
  });
});

t.test(
  'a read-only mount refuses changes; a sealed one has neither devices nor setuid',
  async (t) => {
    const contents: Contents = new Map();
    const id = file(contents, await readFile('/usr/bin/id'), { mode: 0o4755 });
    const device = {
      ...id,
      type: 'character',
      mode: 0o666,
      device: { major: 1, minor: 3 },
    } as const;
    const tree = directory([
      [name('id'), id],
      [name('null'), device],
    ]);
    const effectiveUser = async (folder: string) => {
      const args = ['--reuid=1234', '--clear-groups', join(folder, 'id'), '-u'];
      return (await run('setpriv', args)).stdout.trim();
    };
    const open = await composeTree(t, tree, contents, { readOnly: true });
    const sealed = await composeTree(t, tree, contents, { readOnly: true, sealed: true });
    for (const { folder } of [open, sealed]) await chmod(folder, 0o755);
    await t.rejects(writeFile(join(open.target, 'new'), ''), { code: 'EROFS' });
    await t.rejects(chmod(join(open.target, 'id'), 0), { code: 'EROFS' });
    t.equal(await effectiveUser(open.target), '0');
    t.equal(await effectiveUser(sealed.target), '1234');
    await writeFile(join(open.target, 'null'), 'away');
    await t.rejects(writeFile(join(sealed.target, 'null'), ''), { code: 'EACCES' });
    const writable = await composeTree(t, tree, contents);
    await chmod(writable.folder, 0o755);
    t.equal(await effectiveUser(writable.target), '0');
  },
);

t.test('without the newer mount calls, mount(2) does it', async (t) => {
  const contents: Contents = new Map();
  const tree = smallTree(contents);
  const folder = join(await temporaryFolder(t, 'mount'), 'odd: name, and "long"'.repeat(10));
  const [empty, tier, target] = [
    join(folder, 'empty'),
    join(folder, 'tier'),
    join(folder, 'target'),
  ];
  await mkdir(empty, { recursive: true });
  const { mountPoint } = await mountTreeMetadata(t, folder, tree);
  await fillTier(tier, contents);
  t.teardown(() => detachPath(target));
  const changes = { upper: join(folder, 'upper'), work: join(folder, 'work') };
  const mount = { metadata: mountPoint, data: [empty, tier], target, changes };
  const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
  const child = [process.execPath, '--import', 'tsx', here('./mount-composed.program.ts')];
  await run('python3', [here('./without-fsopen.py'), ...child, JSON.stringify(mount)]);
  t.match((await findMount(target))?.options, /lowerdir=[^,]*::[^,]*::/, 'as mount(2) is told');
  t.equal(await readFile(join(target, 'a'), 'utf8'), 'content of a\n');
  await writeFile(join(target, 'new'), '');
});

t.test('says what is wrong', async (t) => {
  const contents: Contents = new Map();
  const { mount, folder } = await composeTree(t, smallTree(contents), contents);
  const target = join(folder, 'other');
  const missing = { ...mount, target, data: [join(folder, 'nowhere')] };
  await t.rejects(mountComposed(missing), { code: 'not-found', message: /Cannot mount overlay/ });
  const odd = { ...mount, target, data: [join(folder, 'now:here')] };
  await t.rejects(mountComposed(odd), { code: 'not-found', message: /now:here as a layer/ });
  const changes = { upper: join(folder, 'changes'), work: join(folder, 'changes/work') };
  await t.rejects(mountComposed({ ...mount, target, changes }), {
    code: 'unavailable',
    message: /Invalid argument \(dmesg may say more/,
  });
  await t.rejects(mountComposed({ ...mount, target: join(folder, 'metadata.erofs') }), {
    name: 'ThinError',
  });
  t.equal(await findMount(target), undefined);
});
