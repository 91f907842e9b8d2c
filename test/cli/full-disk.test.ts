import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { startRegistry } from '../support/docker-registry.js';
import { runCommand } from '../support/run-command.js';
import { makeSmallDisk, type SmallDisk } from '../support/small-disk.js';
import { makeRootfs } from './small-rootfs.js';
import { mountsBelow, startNode, type TestNode, thinifyProgram, until } from './test-node.js';

/** Disks that are full: of a node, of a converter, of the store that it writes to. */
t.setTimeout(400_000);
const registry = await startRegistry(t);
const folder = mkdtempSync(join(tmpdir(), 'thinfs-full-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const rootfs = join(folder, 'rootfs');
const files = 8;
const fileBytes = 2_500_000;
makeRootfs(rootfs, { count: files, bytes: fileBytes });
const image = `${registry.host}/big:1`;
const plain = `${registry.host}/plain:1`;
await thinify(join(folder, 'cache'), '-q', `dir:${rootfs}`, '--name', image);
const copy = ['--src-tls-verify=false', '--dest-tls-verify=false', '--preserve-digests'];
await runCommand('skopeo', ['copy', '-q', ...copy, `docker://${image}`, `docker://${plain}`]);

const script = 'cd $0/data && sha256sum *';
const right = (await runCommand('sh', ['-c', script, rootfs])).stdout;

async function thinify(cache: string, ...args: string[]) {
  const env = { THINFS_CACHE_HOME: cache };
  const words = [thinifyProgram, ...args];
  return await runCommand(process.execPath, words, { env, mayFail: true });
}

/** A node whose state has a disk to itself. */
async function nodeOn(t: Test, mib: number): Promise<{ node: TestNode; disk: SmallDisk }> {
  const disk = await makeSmallDisk(t, mib);
  const root = join(disk.path, 'state');
  return { disk, node: { ...startNode(t, { THINFS_ROOT: root }), root } };
}

function readAll(node: TestNode) {
  return node.thin(['run', '--rm', '-q', image, 'sh', '-c', script, '/']);
}

t.test('a container reads more than the disk has room for', async (t) => {
  const { node, disk } = await nodeOn(t, 16);
  for (const time of ['first', 'second']) {
    const ran = await readAll(node);
    t.same([ran.code, ran.stdout, ran.stderr], [0, right, ''], time);
    const { cache } = await node.status();
    t.ok(cache.bytes > 5_000_000 && cache.bytes < 16 * 1024 * 1024, `${cache.bytes} bytes`);
  }
  t.match((await node.thin(['status'])).stdout, /big:1 /);
  t.equal((await node.thin(['gc', '--all'])).code, 0);
  t.match(await node.status(), { images: [], cache: { files: 0, partialFiles: 0 } });
  await until('most of the disk is free again', () => disk.free() > 10_000_000);
});

t.test('a disk that fills up while a container runs, and has room again', async (t) => {
  const { node, disk } = await nodeOn(t, 64);
  const mounted = join(node.folder, 'mounted');
  t.equal((await node.thin(['mount', '--read-only', image, mounted])).code, 0);
  const empty = disk.fill(0);
  t.equal((await runCommand('sh', ['-c', script, mounted])).stdout, right, 'served all the same');
  t.match((await node.thin(['status'])).stdout, /mounted /);
  const full = await node.thin(['run', '--rm', '-q', image, 'true']);
  t.match(full, { code: 7, stdout: '', stderr: /^error: Cannot [^\n]+\n$/ });
  t.match(await node.status(), { mounts: [{ target: mounted }] }, 'nothing is left of it');
  t.equal((await node.thin(['daemon', 'restart', '--force'])).code, 0, 'a daemon starts on it');
  t.match(await node.status(), { images: [{ kind: 'thin' }] });
  t.equal((await node.thin(['daemon', 'cleanup', '--force'])).code, 0);
  t.same(mountsBelow(node.folder), []);
  t.match(await node.thin(['gc', '--all']), { code: 0, stdout: /^removed 1 images/ });
  empty();
  t.match(await readAll(node), { code: 0, stdout: right, stderr: '' });
});

t.test('an image that is pulled in full and does not fit', async (t) => {
  const { node, disk } = await nodeOn(t, 16);
  const pulled = await node.thin(['run', '--rm', '-q', plain, 'true']);
  t.match(pulled, { code: 7, stdout: '', stderr: /^error: Cannot [^\n]+\n$/ });
  t.match(await node.status(), { images: [], mounts: [] });
  t.equal((await node.thin(['gc'])).code, 0);
  await until('most of the disk is free again', () => disk.free() > 10_000_000);
  t.match(await readAll(node), { code: 0, stdout: right }, 'its thin form runs');
});

t.test('thinify without room for its packs', async (t) => {
  const disk = await makeSmallDisk(t, 16);
  const cache = join(disk.path, 'cache');
  const name = `${registry.host}/spooled:1`;
  const made = await thinify(cache, '-q', `dir:${rootfs}`, '--name', name);
  t.match(made, { code: 7, stdout: '', stderr: /^error: Cannot [^\n]+\n$/ });
  t.equal((await thinify(cache, 'inspect', name)).code, 3, 'nothing is published');
  t.same(readdirSync(join(cache, 'spool')), []);
});

t.test('thinify to a folder without room', async (t) => {
  const disk = await makeSmallDisk(t, 64);
  const empty = disk.fill(12_000_000);
  const to = ['--to', `dir:${join(disk.path, 'store')}`];
  const cache = join(folder, 'other-cache');
  const made = await thinify(cache, '-q', image, ...to);
  t.match(made, { code: 7, stdout: '', stderr: /^error: Cannot [^\n]+\n$/ });
  t.notOk(existsSync(join(disk.path, 'store/refs')), 'nothing is published');
  t.same(readdirSync(join(cache, 'spool')), []);
  empty();
  t.equal((await thinify(cache, image, ...to)).code, 0);
  t.match(await thinify(cache, 'verify', image, ...to), { code: 0, stdout: /all right/ });
  const { stdout } = await runCommand('find', [
    join(disk.path, 'store'),
    '-type',
    'f',
    '-name',
    '.*',
  ]);
  t.equal(stdout, '', 'no half-written file is left');
});
