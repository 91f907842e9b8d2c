import { mkdir, readdir, readFile, rmdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { byteStringFromText } from '../../src/byte-string.js';
import { detachPath } from '../../src/fuse/kernel-mount.js';
import { findMount } from '../../src/fuse/mount-table.js';
import { detachLeftovers } from '../../src/mount/leftovers.js';
import { mountOverlay } from '../../src/mount/overlay.js';
import { temporaryFolder, until } from '../fuse/mounted-tree.js';
import { startServerProcess } from '../fuse/server-process.js';
import { type Contents, directory, file } from '../fuse/torture-tree.js';
import { runCommand } from '../support/run-command.js';
import { composeTree, fillTier } from './composed-tree.js';
import { loopFiles } from './loop-files.js';

t.test('a killed server leaves mounts that are found and taken away', async (t) => {
  const root = join(await temporaryFolder(t, 'mount'), 'with space, and \n newline');
  const tree = join(root, 'tree');
  const container = join(root, 'container');
  await mkdir(tree, { recursive: true });
  await mkdir(container);
  t.teardown(async () => {
    await detachPath(join(container, 'merged'));
    await detachPath(tree);
  });
  const server = await startServerProcess(t, ['raw', tree, 'serve']);
  t.equal(server.ready, 'ready raw', server.stderr());
  const { merged } = await mountOverlay({ lower: tree, directory: container });
  t.equal(await readFile(join(merged, 'greeting'), 'utf8'), 'hello\n');

  server.child.kill('SIGKILL');
  await server.ended;
  await t.rejects(stat(join(tree, 'never-asked-for')), { code: 'ENOTCONN' });

  t.strictSame(await detachLeftovers(root), { detached: [merged, tree], alive: [] });
  t.equal(await findMount(tree), undefined);
  t.equal(await findMount(merged), undefined);
  t.strictSame(await readdir(tree), []);
  t.strictSame(await detachLeftovers(root), { detached: [], alive: [] });
});

t.test('what is served, is of others, or lies elsewhere is left alone', async (t) => {
  const root = await temporaryFolder(t, 'mount');
  const served = join(root, 'served');
  const elsewhere = `${root}-elsewhere`;
  await mkdir(served);
  await mkdir(elsewhere);
  const living = await startServerProcess(t, ['raw', served, 'serve']);
  const dead = await startServerProcess(t, ['raw', elsewhere, 'serve']);
  t.teardown(async () => {
    await detachPath(served);
    await detachPath(elsewhere);
    await rmdir(elsewhere);
  });
  dead.child.kill('SIGKILL');
  await dead.ended;
  t.strictSame(await detachLeftovers(root), {
    detached: [],
    alive: [{ mountPoint: served, kind: 'tree', alive: true }],
  });
  t.equal(await readFile(join(served, 'greeting'), 'utf8'), 'hello\n');
  t.ok(await findMount(elsewhere), 'a name that only starts the same');
  t.strictSame(await detachLeftovers(elsewhere), { detached: [elsewhere], alive: [] });
  living.child.kill('SIGTERM');
  t.strictSame(await living.ended, { code: 0, signal: null });
});

t.test('composed roots go on with their file server, and go with it', async (t) => {
  const root = await temporaryFolder(t, 'mount');
  const [objects, memory] = [join(root, 'objects'), join(root, 'memory')];
  await mkdir(objects);
  await mkdir(memory);
  await runCommand('mount', ['-t', 'tmpfs', 'mount-test', memory]);
  t.teardown(() => detachPath(memory));
  const server = await startServerProcess(t, ['raw', objects, 'serve']);
  t.teardown(() => detachPath(objects));
  const contents: Contents = new Map();
  const tree = directory([[byteStringFromText('f'), file(contents, Buffer.from('local'))]]);
  const data = [join(root, 'tier'), objects];
  await fillTier(data[0] ?? '', contents);
  const mounted = [];
  for (const folder of [root, memory]) {
    mounted.push(await composeTree(t, tree, contents, { folder, data }));
  }
  t.strictSame(
    mounted.map(({ form }) => form),
    ['file', 'loop'],
  );
  const expected = mounted.flatMap(({ target, mount }) => [
    { mountPoint: target, kind: 'composed', alive: true },
    { mountPoint: mount.metadata, kind: 'metadata', alive: true },
  ]);
  expected.push({ mountPoint: objects, kind: 'tree', alive: true });
  const { alive, detached } = await detachLeftovers(root, objects);
  t.strictSame(detached, []);
  t.strictSame(new Set(alive), new Set(expected));

  server.child.kill('SIGKILL');
  await server.ended;
  const [first] = mounted;
  t.equal(await readFile(join(first?.target ?? '', 'f'), 'utf8'), 'local', 'needs no server');
  const left = await detachLeftovers(root, objects);
  t.strictSame(left.alive, []);
  t.strictSame(new Set(left.detached), new Set(expected.map(({ mountPoint }) => mountPoint)));
  for (const { mountPoint } of expected) t.equal(await findMount(mountPoint), undefined);
  await until('the loop device is gone', async () => {
    return !(await loopFiles()).some((path) => path.startsWith(memory));
  });
});

t.test('composed roots whose file server nobody names are taken away', async (t) => {
  const contents: Contents = new Map();
  const { folder, target, mount } = await composeTree(t, directory([]), contents);
  const wanted = { detached: [target, mount.metadata], alive: [] };
  t.strictSame(await detachLeftovers(folder), wanted);
});
