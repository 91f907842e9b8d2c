import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { nodeFolders } from '../../src/config.js';
import type { SharedTierReport } from '../../src/pop/shared-tier-report.js';
import { startRegistry } from '../support/docker-registry.js';
import { startGluster } from '../support/gluster.js';
import { pushToRegistry, testImage } from '../support/images.js';
import { runCommand } from '../support/run-command.js';
import { metricsOf } from './metrics-page.js';
import { startNode, type TestNode, thinifyProgram, until } from './test-node.js';

t.setTimeout(400_000); // one conversion, and then some
const registry = await startRegistry(t);
const reference = `${registry.host}/busybox:1`;
await pushToRegistry(await testImage('busybox'), reference);
await runCommand(process.execPath, [thinifyProgram, reference]);
const gluster = await startGluster(t);
const directory = join(gluster.path, 'thinfs');
mkdirSync(directory);

const words = ['run', '--rm', reference, 'sh', '-c', 'cat /etc/* /bin/busybox | wc -c'];

function start(setting = '', complete = 'never'): TestNode {
  const env = { THINFS_TIERS: `shared=${directory}${setting}`, THINFS_COMPLETE: complete };
  return startNode(t, { ...env, THINFS_PREFETCH: 'none' });
}

/** Its shared tier is there: the process that reads it takes a moment to start. */
async function startReady(setting?: string): Promise<TestNode> {
  const node = start(setting);
  await node.thin(['daemon', 'start']);
  await until('the shared tier is there', async () => (await report(node)).away === null);
  return node;
}

async function report(node: TestNode): Promise<SharedTierReport> {
  const { stdout, stderr } = await node.thin(['pop', 'status', '--json']);
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout).sharedTier;
}

/** Compressed bytes of frames that a node has fetched from the registry. */
async function fetched(node: TestNode): Promise<number> {
  const { socket } = nodeFolders(node.root, process.env, process.getuid?.() ?? 0);
  const values = await metricsOf({ socketPath: socket });
  const names = [...values.keys()].filter((name) => name.startsWith('thinfs_source_bytes_total'));
  return names.reduce((sum, name) => sum + (values.get(name) ?? 0), 0);
}

function filesOf(node: TestNode): string[] {
  const below = readdirSync(join(node.root, 'tiers/local'), { recursive: true, encoding: 'utf8' });
  return below.filter((name) => /[0-9a-f]{64}$/.test(name));
}

/** A node that has read all: one that the GlusterFS was not too slow for, as it is on a busy machine. */
async function startReader(t: Test, read: string, setting?: string): Promise<TestNode> {
  for (let tries = 0; tries < 5; tries++) {
    const node = await startReady(setting);
    t.match(await node.thin(words), { code: 0, stdout: read });
    const log = readFileSync(join(node.root, 'daemon.log'), 'utf8');
    const wasAway = log.includes('going on without the shared tier');
    if (!wasAway && (await report(node)).counts.late === 0) return node;
    await node.stop();
  }
  throw new Error('the GlusterFS was too slow five times');
}

t.test('what one node has brought, others read from a GlusterFS', async (t) => {
  const first = start('', 'always');
  const { code, stdout: read } = await first.thin(words);
  t.equal(code, 0);
  await first.thin(['mount', reference, join(first.folder, 'image')]);
  await until('the image is complete', async () => {
    const { stdout } = await first.thin(['why', reference]);
    return /files: complete/.test(stdout);
  });
  await until('all of it is there', async () => {
    const { waiting, counts } = await report(first);
    return waiting === 0 && counts.stored >= filesOf(first).length;
  });
  const all = await fetched(first);
  t.ok(all > 0);

  const second = await startReader(t, read);
  t.ok((await report(second)).counts.bytes > 0);
  t.equal(await fetched(second), 0, 'nothing comes from the registry');
  await until('what was read is copied', () => filesOf(second).length > 0);

  const direct = await startReader(t, read, ',direct');
  t.same(filesOf(direct), [], 'the kernel reads there, and nothing is copied');
  // The daemon itself reads who the container's users are.
  t.ok((await report(direct)).counts.bytes < 65_536);
  t.equal(await fetched(direct), 0);
  const { stdout } = await direct.thin(['pop', 'status']);
  t.match(stdout, /SHARED TIER \S+\/thinfs, read by mounts directly\n {2}is there\n/);
});

t.test('a container on a node whose shared tier hangs sees nothing of it', async (t) => {
  const node = await startReady();
  gluster.pause();
  t.match(await node.thin(words), { code: 0, stdout: /^\d+\n$/ });
  t.ok((await fetched(node)) > 0);
  await until('it is noticed', async () => (await report(node)).away !== null);
  const other = start();
  t.match(await other.thin(words), { code: 0, stdout: /^\d+\n$/ }, 'also when it is started then');
  await other.stop();
  gluster.resume();
  await until('it is used again', async () => (await report(node)).away === null);
});
