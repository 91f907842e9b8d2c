import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { cleanUp } from '../support/clean-up.js';
import { startRegistry } from '../support/docker-registry.js';
import { runCommand } from '../support/run-command.js';
import { killServer } from './holder-status.js';
import { makeRootfs } from './small-rootfs.js';
import { startNode, type TestNode, thinifyProgram, until } from './test-node.js';

const yearMs = 365 * 24 * 3_600_000;
t.jobs = 3; // each has nodes of its own
t.setTimeout(400_000); // dozens of processes on a busy machine
const registry = await startRegistry(t);
const folder = mkdtempSync(join(tmpdir(), 'thinfs-composed-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const rootfs = join(folder, 'rootfs');
const [count, bytes] = [60, 150_000];
makeRootfs(rootfs, { count, bytes });
const image = `${registry.host}/cache:1`;
await runCommand(process.execPath, [thinifyProgram, '-q', `dir:${rootfs}`, '--name', image]);
const sums = (await runCommand('sh', ['-c', 'cd "$0" && sha256sum data/*', rootfs])).stdout;
writeFileSync(join(folder, 'sums'), sums);

/** Names of files below `mounted` that are not what they should be. */
async function wrongFiles(mounted: string): Promise<string[]> {
  const words = ['60', 'sha256sum', '--check', '--quiet', join(folder, 'sums')];
  const { code, stdout } = await runCommand('timeout', words, { cwd: mounted, mayFail: true });
  if (code === 0) return [];
  return stdout.split('\n').filter(Boolean);
}

/** Paths of all complete files in the node's tier, which the kernel reads. */
function tierFiles(node: TestNode): string[] {
  const tier = join(node.root, 'tiers/local');
  return readdirSync(tier, { recursive: true, encoding: 'utf8' })
    .filter((path) => /^..\/[0-9a-f]{64}$/.test(path))
    .map((path) => join(tier, path))
    .sort();
}

/** Mounts the image so that the kernel takes all of it from the tier. */
async function mountComplete(t: Test, node: TestNode): Promise<string> {
  const target = join(node.folder, 'mounted');
  for (const time of ['through F', 'from the tier']) {
    const { code, stderr } = await node.thin(['mount', '-q', '--read-only', image, target]);
    t.equal(code, 0, stderr);
    t.strictSame(await wrongFiles(target), [], time);
    // What is read is stored behind the read.
    await until('all of it is in the tier', () => tierFiles(node).length >= count);
    if (time === 'through F') t.equal((await node.thin(['unmount', target])).code, 0);
  }
  return target;
}

function flip(path: string, offset: number): void {
  const content = readFileSync(path);
  const at = offset % content.length;
  content.writeUInt8(content.readUInt8(at) ^ 1, at);
  writeFileSync(path, content);
}

t.test('files that were changed while no daemon ran', async (t) => {
  const node = startNode(t);
  const target = await mountComplete(t, node);
  t.equal((await node.thin(['daemon', 'stop'])).code, 0);
  const files = tierFiles(node);
  for (const [n, path] of files.entries()) if (n % 3 === 0) flip(path, n * 9_973);
  const [one = '', other = '', short = '', empty = ''] = files.filter((_, n) => n % 3 === 1);
  renameSync(one, `${one}.swapped`);
  renameSync(other, one);
  renameSync(`${one}.swapped`, other);
  truncateSync(short, 1000);
  truncateSync(empty, 0);
  const unwatched = await wrongFiles(target);
  t.ok(unwatched.length > 0, 'nobody stands between the kernel and a complete file');

  t.equal((await node.thin(['daemon', 'start'])).code, 0);
  t.strictSame(await wrongFiles(target), [], 'from the moment that the daemon answers');
  // What the kernel has in memory is read without asking: those files are looked at in the background.
  await until('all of them were found', () => {
    const log = readFileSync(join(node.root, 'daemon.log'), 'utf8');
    const found = new Set(log.match(/sha256:[0-9a-f]{64}(?=","msg":"cached file was changed)/g));
    return found.size >= Math.floor(files.length / 3) + 4;
  });
});

t.test('files that were changed while the daemon runs: thin check finds them', async (t) => {
  const node = startNode(t);
  const target = await mountComplete(t, node);
  const files = tierFiles(node);
  for (const [n, path] of files.entries()) if (n % 10 === 0) flip(path, n * 9_973);
  t.ok((await wrongFiles(target)).length > 0, 'nobody stands between');
  const checked = await node.thin(['check', '--json']);
  t.match(checked.stdout, /sha256:/, checked.stderr);
  t.strictSame(await wrongFiles(target), []);
  t.equal((await node.thin(['check'])).code, 0, 'and nothing is wrong any more');
});

t.test('a container reads four times what fits, five times over', async (t) => {
  const node = startNode(t, { THINFS_CACHE_SIZE: '2M' });
  const script = `for round in 1 2 3 4 5; do sha256sum -c -s /sums || exit 1; done; exit 42`;
  const volume = ['-v', `${join(folder, 'sums')}:/sums:ro`];
  const words = ['run', '--rm', '-q', ...volume, image, 'sh', '-c', script];
  const { code, stderr } = await node.thin(words);
  t.equal(code, 42, stderr);
  const { cache, images } = await node.status();
  t.ok(cache.bytes <= cache.quota, `${cache.bytes} bytes of ${cache.quota}`);
  const { stdout } = await runCommand('du', ['-sk', join(node.root, 'tiers')]);
  t.ok(Number.parseInt(stdout, 10) < 3_000, 'on the disk, with its folders');
  t.ok(Number(images[0]?.fetched.bytes) > count * bytes, 'more was fetched than there is');
});

/** What libfaketime leaves of processes that were killed. */
function clocksLeft(): string[] {
  const names = readdirSync('/dev/shm').filter((name) => /faketime_(sem|shm)_\d+$/.test(name));
  return names.filter((name) => !existsSync(join('/proc', name.replace(/.*_/, ''))));
}

/** What every process of a node is to see of the time; `set` as faketime(1) says it: `-2d`, `+10y`. */
function fakeClock(t: Test, folder: string) {
  const before = new Set(clocksLeft());
  cleanUp(t, () => {
    for (const name of clocksLeft())
      if (!before.has(name)) rmSync(join('/dev/shm', name), { force: true });
  });
  const path = join(folder, 'clock');
  const [library = ''] = readdirSync('/usr/lib', { withFileTypes: true })
    .map(({ name }) => `/usr/lib/${name}/faketime/libfaketime.so.1`)
    .filter((candidate) => existsSync(candidate));
  const env = {
    LD_PRELOAD: library,
    FAKETIME_TIMESTAMP_FILE: path,
    FAKETIME_NO_CACHE: '1',
    FAKETIME_DONT_FAKE_MONOTONIC: '1', // a clock that is set leaves that alone
  };
  return { env, set: (offset: string) => writeFileSync(path, `${offset}\n`) };
}

t.test('a clock that is set: no read fails, and nothing leaves the cache', async (t) => {
  const clock = fakeClock(t, mkdtempSync(join(folder, 'clock-')));
  clock.set('+0');
  const node = startNode(t, { ...clock.env, THINFS_COMPLETE: 'never', THINFS_PREFETCH: 'none' });
  const target = join(node.folder, 'mounted');
  t.equal((await node.thin(['mount', '-q', '--read-only', image, target])).code, 0);
  const offsets = ['-2d', '+10y', '-1y', '+0'];
  for (const [n, offset] of offsets.entries()) {
    clock.set(offset);
    const share = count / offsets.length;
    for (let file = n * share; file < (n + 1) * share; file++) {
      const same = readFileSync(join(target, 'data', `${file}`)).equals(
        readFileSync(join(rootfs, 'data', `${file}`)),
      );
      t.ok(same, `file ${file} at ${offset}`);
    }
    await until('what was read is stored', () => tierFiles(node).length >= (n + 1) * share);
    await killServer(node);
    const { startedAt } = await node.status();
    if (offset === '+10y') t.ok(startedAt > Date.now() + 9 * yearMs, 'it sees that time');
  }
  const verified = await node.thin(['check']);
  t.equal(verified.code, 0, verified.stderr);
  t.ok(tierFiles(node).length >= count, 'all are here');
  t.strictSame(await wrongFiles(target), []);
});
