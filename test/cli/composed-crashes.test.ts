import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { startRegistry } from '../support/docker-registry.js';
import { runCommand } from '../support/run-command.js';
import { holderOf, killServer, serving } from './holder-status.js';
import { makeRootfs } from './small-rootfs.js';
import {
  isAlive,
  mountsBelow,
  startNode,
  startThin,
  type TestNode,
  thinifyProgram,
  until,
} from './test-node.js';

t.jobs = 2; // each has nodes of its own
t.setTimeout(900_000); // dozens of processes on a busy machine
const registry = await startRegistry(t);
const folder = mkdtempSync(join(tmpdir(), 'thinfs-crashes-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const rootfs = join(folder, 'rootfs');
const files = 60;
makeRootfs(rootfs, { count: files, bytes: 150_000 });
const image = `${registry.host}/crashes:1`;
const unread = `${registry.host}/unread:1`;
makeRootfs(join(folder, 'unread'), { count: 4, bytes: 300_000, seed: 'unread' });
for (const [tree, reference] of [
  [rootfs, image],
  [join(folder, 'unread'), unread],
]) {
  await runCommand(process.execPath, [
    thinifyProgram,
    '-q',
    `dir:${tree}`,
    '--name',
    `${reference}`,
  ]);
}
const sums = (await runCommand('sh', ['-c', 'cd "$0" && sha256sum data/*', rootfs])).stdout;

/** A third of the files: the others are cold, whatever was read before. */
const cacheSize = '3M';

/** Compares all files over and over, tells each round, and ends when told with a code of its own. */
const compare = `
round=0
while [ ! -e /control/end ]; do
  sha256sum -c -s /control/sums || exit 1
  round=$((round + 1))
  echo round $round.
done
exit 42`;

/** A folder that the container has as /control; `end()` makes it end. */
function controlFolder(): { path: string; end(): void } {
  const path = mkdtempSync(join(folder, 'control-'));
  writeFileSync(join(path, 'sums'), sums);
  return { path, end: () => writeFileSync(join(path, 'end'), '') };
}

/** Starts the container, and resolves when it has read everything once. */
async function startReader(t: Test, node: TestNode, flags: readonly string[]) {
  const control = controlFolder();
  const words = ['run', '-q', ...flags, '-v', `${control.path}:/control`, image, 'sh', '-c'];
  const command = startThin(t, node, [...words, compare]);
  await command.printed('round 1.');
  const rounds = (): number => command.output().split('\n').length - 1;
  const oneMore = async (): Promise<void> => {
    const before = rounds();
    await until('it reads all once more', () => rounds() > before + 1 || !isAlive(command.pid));
  };
  return { ...control, command, oneMore };
}

async function nothingLeft(t: Test, node: TestNode): Promise<void> {
  t.strictSame(mountsBelow(`${node.root}/containers`), []);
  // The kernel lets go of a loop device behind the last unmount.
  await until('no loop device is left', async () => {
    const { stdout } = await runCommand('losetup', ['--noheadings', '--output', 'BACK-FILE']);
    return !stdout.includes(node.root);
  });
}

t.test('whatever of the daemon is killed, the container reads on', async (t) => {
  const node = startNode(t, { THINFS_CACHE_SIZE: cacheSize });
  const reader = await startReader(t, node, ['--rm', '--name', 'reader']);
  t.match((await node.status()).mounts, [{ form: 'composed' }]);
  for (let kill = 1; kill <= 4; kill++) {
    await killServer(node);
    await reader.oneMore();
  }
  const { pid } = await holderOf(node);
  process.kill(pid, 'SIGKILL');
  await until('a holder succeeds it', async () => {
    const { code, stdout } = await node.thin(['daemon', 'status', '--json']);
    return code === 0 && JSON.parse(stdout).pid !== pid;
  });
  await reader.oneMore();
  await killServer(node);
  await reader.oneMore();
  t.equal((await node.thin(['daemon', 'restart'])).code, 0);
  await reader.oneMore();
  t.match((await node.status()).mounts, [{ id: 'reader', form: 'composed' }]);
  const { cache } = await node.status();
  t.ok(cache.bytes <= cache.quota, `${cache.bytes} bytes in the cache`);
  reader.end();
  t.same(await reader.command.ended, { code: 42, signal: null }, reader.command.errors());
  t.strictSame((await node.status()).mounts, [], 'the one that ended is forgotten');
  await nothingLeft(t, node);
});

t.test('two nodes of a machine have containers of the same name', async (t) => {
  const [one, other] = [startNode(t), startNode(t)];
  const first = await startReader(t, one, ['--rm', '--name', 'same']);
  const second = await startReader(t, other, ['--rm', '--name', 'same']);
  second.end();
  t.same(await second.command.ended, { code: 42, signal: null }, second.command.errors());
  await first.oneMore();
  first.end();
  t.same(await first.command.ended, { code: 42, signal: null }, first.command.errors());
});

t.test('the end of a container is known although the daemon was restarted', async (t) => {
  const node = startNode(t);
  const reader = await startReader(t, node, ['--name', 'kept']);
  await killServer(node);
  reader.end();
  t.same(await reader.command.ended, { code: 42, signal: null });
  t.equal(reader.command.errors(), '', 'it has said so');
  t.match((await node.status()).mounts, [{ id: 'kept', exitCode: 42 }]);
  await killServer(node);
  await serving(node);
  t.match((await node.status()).mounts, [{ id: 'kept', exitCode: 42 }], 'and stays known');
  t.equal((await node.thin(['rm', 'kept'])).code, 0);
  await nothingLeft(t, node);
});

t.test('a daemon that is stopped: what is here is read, the rest waits for it', async (t) => {
  const node = startNode(t, { THINFS_CACHE_SIZE: cacheSize });
  const reader = await startReader(t, node, ['--rm']);
  t.equal((await node.thin(['daemon', 'stop'])).code, 0, 'it may be stopped');
  t.match(await holderOf(node), { phase: 'stopped' });
  t.ok(isAlive(reader.command.pid));
  t.equal((await node.thin(['daemon', 'start'])).code, 0);
  await reader.oneMore();
  reader.end();
  t.same(await reader.command.ended, { code: 42, signal: null }, reader.command.errors());
  await nothingLeft(t, node);
});

t.test('server and holder killed: nothing hangs, and what is lost is told', async (t) => {
  const node = startNode(t, { THINFS_COMPLETE: 'never', THINFS_PREFETCH: 'none' });
  await node.status(); // starts a daemon that is no child of the reader, which will not reap it
  const reader = await startReader(t, node, ['--rm', '--name', 'lost']);
  const [filling, target] = [join(node.folder, 'filling'), join(node.folder, 'mounted')];
  for (const place of [filling, target]) {
    t.equal((await node.thin(['mount', '-q', '--read-only', unread, place])).code, 0);
  }
  const bytes = readFileSync(join(filling, 'data/1'));
  const hash = createHash('sha256').update(bytes).digest('hex');
  const complete = join(node.root, 'tiers/local', hash.slice(0, 2), hash);
  await until('a file is complete', () => existsSync(complete));
  const [warm, cold] = [join(target, 'data/1'), join(target, 'data/2')];
  const { pid, ...server } = await serving(node);
  const serverPid = Number(server.serverPid);
  reader.command.kill('SIGSTOP'); // so that it does not start a daemon to tell how it ended
  process.kill(pid, 'SIGSTOP'); // so that it starts no server
  process.kill(serverPid, 'SIGKILL');
  process.kill(pid, 'SIGKILL');
  await until('both are gone', () => !isAlive(pid) && !isAlive(serverPid));

  t.ok(readFileSync(warm).equals(bytes), 'what is here can be read');
  const read = await runCommand('timeout', ['60', 'cat', cold], { mayFail: true });
  t.match(read.stderr, /Transport endpoint is not connected|Software caused connection abort/);
  const listed = await runCommand('timeout', ['60', 'ls', '-lR', target]);
  t.match(listed.stdout, /data/, 'names do not depend on it');
  reader.command.kill('SIGCONT');

  const status = await node.thin(['status', '--json']);
  t.strictSame(JSON.parse(status.stdout).mounts, [], status.stderr);
  const log = readFileSync(join(node.root, 'daemon.log'), 'utf8');
  t.match(log, /"lost":\[[^\]]*mounted/);
  t.match(log, /"lost":\[[^\]]*containers\/lost\/merged/);
  const { code } = await reader.command.ended;
  t.ok(code !== 0 && code !== null, `no success: ${code}`);
  t.notMatch(reader.command.errors(), /\n {4}at /, 'an error, no stack');
  t.strictSame(mountsBelow(node.folder), []);
  t.notOk(existsSync(join(node.root, 'containers/lost')));
  const again = await node.thin(['run', '--rm', '-q', image, 'sha256sum', '/data/7']);
  t.match(again.stdout, /^[0-9a-f]{64}/, again.stderr);
});
