import { chownSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { compareTrees, describeDifferences, snapshotTree } from '../support/compare-trees.js';
import { startRegistry } from '../support/docker-registry.js';
import { extractWithTar } from '../support/extract-image.js';
import { openFuseToAll } from '../support/fuse-device.js';
import { pushToRegistry, testImage } from '../support/images.js';
import { runCommand } from '../support/run-command.js';
import {
  mountsBelow,
  startNode,
  type TestNode,
  thinifyProgram,
  thinProgram,
  until,
} from './test-node.js';

t.jobs = 3; // each has nodes of its own
t.setTimeout(400_000); // whole images are read, on a busy machine
/** A user without rights. */
const nobody = 65_534;
await openFuseToAll();
const registry = await startRegistry(t);
const references = new Map<string, string>();
for (const name of ['busybox', 'torture'] as const) {
  const reference = `${registry.host}/${name}:1`;
  await pushToRegistry(await testImage(name), reference);
  await runCommand(process.execPath, [thinifyProgram, '-q', reference]);
  references.set(name, reference);
}
const busybox = references.get('busybox') ?? '';
const torture = references.get('torture') ?? '';

async function done(t: Test, node: TestNode, args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await node.thin(args);
  t.equal(code, 0, `${args.join(' ')}: ${stderr}`);
  return stdout;
}

t.test('each path is what GNU tar extracts, and nothing is left behind', async (t) => {
  const node = startNode(t);
  const extracted = join(node.folder, 'extracted');
  await extractWithTar(await testImage('torture'), extracted);
  const wanted = await snapshotTree(extracted);
  for (const flags of [['--read-only'], []]) {
    const target = join(node.folder, `mounted${flags}`);
    await done(t, node, ['mount', '-q', '--mount', 'composed', ...flags, torture, target]);
    t.match((await node.status()).mounts, [{ target, form: 'composed', server: /^erofs/ }]);
    const differences = compareTrees(wanted, await snapshotTree(target));
    t.equal(differences.length, 0, describeDifferences(differences));
    await done(t, node, ['unmount', target]);
    t.strictSame(readdirSync(target), []);
  }
  // The kernel lets go of a loop device behind the last unmount.
  await until('no loop device is left', async () => {
    const { stdout } = await runCommand('losetup', ['--noheadings', '--output', 'BACK-FILE']);
    return !stdout.includes(node.root);
  });
  t.strictSame(mountsBelow(node.root), []);
  t.strictSame(readdirSync(join(node.root, 'mounts')), []);
});

t.test('a mount that is in use', async (t) => {
  const node = startNode(t);
  const target = join(node.folder, 'used');
  await done(t, node, ['mount', '-q', '--read-only', busybox, target]);
  const refused = await node.thin(['unmount', target], { cwd: target });
  t.equal(refused.code, 8);
  t.match(refused.stderr, /something uses it/);
  t.equal((await node.status()).mounts.length, 1, 'it goes on');
  t.equal((await node.thin(['unmount', '--force', target], { cwd: target })).code, 0);
  t.strictSame((await node.status()).mounts, []);
});

t.test('a mount that somebody takes away by umount(8)', async (t) => {
  const node = startNode(t);
  const target = join(node.folder, 'gone');
  await done(t, node, ['mount', '-q', busybox, target]);
  await runCommand('umount', [target]);
  t.strictSame((await node.status()).mounts, []);
  t.strictSame(readdirSync(join(node.root, 'mounts')), []);
  await done(t, node, ['mount', '-q', busybox, target]);
  await runCommand('umount', [target]);
  await done(t, node, ['mount', '-q', busybox, target]);
  t.equal((await node.status()).mounts.length, 1);
});

async function mountTmpfs(t: Test, target: string): Promise<void> {
  await runCommand('mount', ['-t', 'tmpfs', 'tmpfs', target]);
  t.teardown(() => runCommand('umount', ['-l', target], { mayFail: true }));
}

t.test('what somebody else mounts in the place of a mount is left alone', async (t) => {
  const node = startNode(t);
  const target = join(node.folder, 'theirs');
  await done(t, node, ['mount', '-q', '--read-only', busybox, target]);
  readFileSync(join(target, 'bin/busybox'));
  let stored = '';
  await until('a file is in the tier', async () => {
    const found = await runCommand('find', [
      join(node.root, 'tiers/local/'),
      '-name',
      '?'.repeat(64),
    ]);
    [stored = ''] = found.stdout.split('\n');
    return stored !== '';
  });
  await runCommand('umount', [target]);
  await mountTmpfs(t, target);
  writeFileSync(stored, 'something else');
  t.equal((await node.thin(['check'])).code, 6, 'what is mounted is made to look again');
  writeFileSync(join(target, 'written'), 'it can be');
  t.strictSame((await node.status()).mounts, []);
  t.equal((await node.thin(['unmount', '--force', target])).code, 3);
  t.equal(readFileSync(join(target, 'written'), 'utf8'), 'it can be');
});

t.test('what somebody else mounts over a mount is left alone, and so is that', async (t) => {
  const node = startNode(t);
  const target = join(node.folder, 'covered');
  await done(t, node, ['mount', '-q', busybox, target]);
  writeFileSync(join(target, 'below'), 'ours');
  await mountTmpfs(t, target);
  writeFileSync(join(target, 'above'), 'theirs');
  for (const when of ['now', 'to the next daemon']) {
    t.match((await node.status()).mounts, [{ target }], when);
    const refused = await node.thin(['unmount', '--force', target]);
    t.match(refused, { code: 8, stderr: /something else is mounted over it/ });
    t.equal(readFileSync(join(target, 'above'), 'utf8'), 'theirs');
    await done(t, node, ['daemon', 'restart']);
  }
  await runCommand('umount', [target]);
  t.equal(readFileSync(join(target, 'below'), 'utf8'), 'ours');
  await done(t, node, ['unmount', target]);
  t.strictSame(readdirSync(join(node.root, 'mounts')), []);
});

t.test('garbage collection leaves what is mounted', async (t) => {
  const node = startNode(t);
  const target = join(node.folder, 'kept');
  await done(t, node, ['mount', '-q', '--read-only', busybox, target]);
  const program = readFileSync('/bin/busybox');
  await done(t, node, ['gc', '--all']);
  t.match((await node.status()).images, [{ references: [busybox] }]);
  t.ok(readFileSync(join(target, 'bin/busybox')).equals(program));
  t.equal(await done(t, node, ['run', '--rm', '-q', busybox, 'echo', 'here']), 'here\n');
  await done(t, node, ['unmount', target]);
  await done(t, node, ['gc', '--all']);
  const { images, cache } = await node.status();
  t.strictSame(images, []);
  t.equal(cache.files + cache.partialFiles, 0);
});

t.test('the portable form where it is asked for, and where the other cannot be had', async (t) => {
  const node = startNode(t);
  const target = join(node.folder, 'portable');
  await done(t, node, ['mount', '-q', '--read-only', '--mount', 'portable', torture, target]);
  t.match((await node.status()).mounts, [{ form: 'portable' }]);
  const run = ['run', '--rm', '-q', '--mount', 'portable', busybox, 'echo', 'here'];
  t.equal(await done(t, node, run), 'here\n');

  const home = mkdtempSync(join(tmpdir(), 'thinfs-user-'));
  chownSync(home, nobody, nobody);
  const env = { THINFS_ROOT: join(home, 'state'), XDG_RUNTIME_DIR: home, HOME: home };
  const thin = (...words: string[]) => {
    const user = [`--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups'];
    const all = [...user, process.execPath, thinProgram, ...words];
    return runCommand('setpriv', all, { env, mayFail: true, timeoutMs: 60_000 });
  };
  t.teardown(async () => {
    await thin('daemon', 'cleanup', '--force'); // of a test that failed
    rmSync(home, { recursive: true, force: true });
  });
  const place = join(home, 'mounted');
  const refused = await thin('mount', '-q', '--mount', 'composed', busybox, place);
  t.equal(refused.code, 5, refused.stderr);
  t.match(refused.stderr, /Cannot compose mounts: /);
  const mounted = await thin('mount', '-q', busybox, place);
  t.equal(mounted.code, 0, mounted.stderr);
  const listed = await thin('status', '--json');
  t.match(JSON.parse(listed.stdout).mounts, [{ form: 'portable', readOnly: true }]);
  const read = `sha256sum < ${place}/bin/busybox`;
  const user = [`--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups', 'sh', '-c', read];
  const wanted = await runCommand('sh', ['-c', 'sha256sum < /bin/busybox']);
  t.equal((await runCommand('setpriv', user)).stdout, wanted.stdout);
  const cleaned = await thin('daemon', 'cleanup', '--force');
  t.equal(cleaned.code, 0, cleaned.stderr);
  t.strictSame(mountsBelow(home), []);
});
