import { mkdir, readdir, readFile, rmdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { detachPath } from '../../src/fuse/kernel-mount.js';
import { findMount } from '../../src/fuse/mount-table.js';
import { detachLeftovers } from '../../src/mount/leftovers.js';
import { mountOverlay } from '../../src/mount/overlay.js';
import { temporaryFolder } from '../fuse/mounted-tree.js';
import { startServerProcess } from '../fuse/server-process.js';

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
  t.strictSame(await detachLeftovers(root), { detached: [], alive: [served] });
  t.equal(await readFile(join(served, 'greeting'), 'utf8'), 'hello\n');
  t.ok(await findMount(elsewhere), 'a name that only starts the same');
  t.strictSame(await detachLeftovers(elsewhere), { detached: [elsewhere], alive: [] });
  living.child.kill('SIGTERM');
  t.strictSame(await living.ended, { code: 0, signal: null });
});
