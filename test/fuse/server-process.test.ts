import { execFile } from 'node:child_process';
import { chown, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';
import { detachPath } from '../../src/fuse/kernel-mount.js';
import { findMount } from '../../src/fuse/mount-table.js';
import { openFuseToAll } from '../support/fuse-device.js';
import { temporaryFolder, until } from './mounted-tree.js';
import { startServerProcess } from './server-process.js';

const run = promisify(execFile);
const nobody = 65_534;
await openFuseToAll();

const asNobody = ['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups'];

for (const implementation of ['raw', 'fuse-native']) {
  for (const [how, wanted] of [
    ['exit', 7],
    ['throw', 1],
  ] as const) {
    t.test(`a ${implementation} server that ends by ${how} leaves no mount`, async (t) => {
      const mountPoint = await temporaryFolder(t);
      t.teardown(() => detachPath(mountPoint));
      const server = await startServerProcess(t, [implementation, mountPoint, how]);
      t.equal(server.ready, `ready ${implementation}`, server.stderr());
      t.strictSame(await server.ended, { code: wanted, signal: null });
      t.equal(await findMount(mountPoint), undefined);
    });
  }

  t.test(`a user without rights mounts with the ${implementation} server`, async (t) => {
    const mountPoint = await temporaryFolder(t);
    t.teardown(() => detachPath(mountPoint));
    await chown(mountPoint, nobody, nobody);
    const server = await startServerProcess(t, [implementation, mountPoint, 'serve'], asNobody);
    t.equal(server.ready, `ready ${implementation}`, server.stderr());
    const mount = await findMount(mountPoint);
    t.equal(mount?.type, 'fuse.thinfs');
    const read = async (user: readonly string[]) => {
      const [command = '', ...args] = [...user, 'cat', join(mountPoint, 'greeting')];
      return (await run(command, args)).stdout;
    };
    t.equal(await read(asNobody), 'hello\n');
    await t.rejects(read(['setpriv', '--reuid=1234', '--clear-groups']), /Permission denied/);
    server.child.kill('SIGTERM');
    t.strictSame(await server.ended, { code: 0, signal: null }, server.stderr());
    t.equal(await findMount(mountPoint), undefined);
    t.strictSame(await readdir(mountPoint), []);
  });
}

t.test("a user's server can exit while its mount is used", async (t) => {
  const mountPoint = await temporaryFolder(t);
  t.teardown(() => detachPath(mountPoint));
  await chown(mountPoint, nobody, nobody);
  const server = await startServerProcess(t, ['raw', mountPoint, 'serve'], asNobody);
  const stuck = run('setpriv', [...asNobody.slice(1), 'cat', join(mountPoint, 'stuck')]);
  const failed = t.rejects(stuck, /ENOTCONN|not connected|aborted|Interrupted|I\/O error/);
  await until('the read arrived', () => server.stderr().includes('stuck'));
  server.child.kill('SIGTERM');
  t.strictSame(await server.ended, { code: 0, signal: null }, server.stderr());
  await failed;
  t.equal(await findMount(mountPoint), undefined);
});

t.test('without the addon a user gets the second server, and why', async (t) => {
  const mountPoint = await temporaryFolder(t);
  await chown(mountPoint, nobody, nobody);
  const addon = fileURLToPath(new URL('../../native-bindings', import.meta.url));
  // A mount namespace of its own, in which the addon's folders are empty.
  const hide = `for folder in ${addon}/build ${addon}/prebuilds; do
    if [ -d $folder ]; then mount -t tmpfs none $folder; fi
  done; exec "$@"`;
  const runAs = ['unshare', '--mount', 'sh', '-c', hide, 'sh', ...asNobody];
  const server = await startServerProcess(t, ['best', mountPoint, 'serve'], runAs);
  t.equal(server.ready, 'ready fuse-native', server.stderr());
  t.match(server.stderr(), /mounted with fuse-native: .*run "npm run build:native"/);
  const inside = ['--mount', '--target', `${server.child.pid}`, ...asNobody];
  const { stdout } = await run('nsenter', [...inside, 'cat', join(mountPoint, 'greeting')]);
  t.equal(stdout, 'hello\n');
  t.equal(await findMount(mountPoint), undefined, 'only in its own namespace');
});
