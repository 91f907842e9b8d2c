import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { z } from 'zod';
import { nodeConfig } from '../../src/config.js';
import { findMount } from '../../src/fuse/mount-table.js';
import { parseReadySign } from '../../src/ready-option.js';
import { startRegistry } from '../support/docker-registry.js';
import { pushToRegistry, testImage } from '../support/images.js';
import { runCommand } from '../support/run-command.js';
import { startNode, startThin, thinifyProgram, until } from './test-node.js';

t.jobs = 3; // each has a node of its own
const registry = await startRegistry(t);
const reference = `${registry.host}/busybox:1`;
await pushToRegistry(await testImage('busybox'), reference);
await runCommand(process.execPath, [thinifyProgram, reference]);
const lineSchema = z.object({ msg: z.string(), milliseconds: z.number().optional() });

/** Runs a container until it says "over", which it does not before it is known to be ready. */
async function readyBy(t: Test, sign: string, script: string): Promise<void> {
  const node = startNode(t, { THINFS_LOG_LEVEL: 'debug' });
  const words = ['run', '--rm', '-q', '--ready', sign, reference, 'sh', '-c', script];
  const container = startThin(t, node, words);
  await until(`it is ready by ${sign}`, () => {
    const log = join(node.root, 'daemon.log');
    if (!existsSync(log)) return false;
    const lines = readFileSync(log, 'utf8').split('\n').filter(Boolean);
    const told = lines.map((line) => lineSchema.safeParse(JSON.parse(line)).data);
    return told.some((line) => line?.msg === 'a container is ready');
  });
  await until('what it read is kept', async () => {
    const { stdout } = await node.thin(['hot', 'show', reference]);
    return stdout.startsWith('sh -c');
  });
  t.equal((await node.status()).mounts.length, 1, 'while it goes on');
  container.kill('SIGKILL');
}

const forever = 'sleep 600';

t.test('a line of its output', async (t) => {
  await readyBy(t, 'line:at your service', `echo now at your service; ${forever}`);
});

t.test('who reads its output may go away: it is told as any program is', async (t) => {
  const node = startNode(t);
  const loop = 'while echo spam; do :; done; exit 7'; // EPIPE
  const words = ['run', '--rm', '-q', '--ready', 'line:never', reference, 'sh', '-c', loop];
  const container = startThin(t, node, words);
  await container.printed('spam');
  container.hangUp();
  t.same(await container.ended, { code: 7, signal: null });
});

t.test('a port that answers', async (t) => {
  const server = createServer();
  const port = await new Promise<number>((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      resolve(typeof address === 'object' && address ? address.port : 0);
    });
  });
  t.teardown(() => server.close());
  await readyBy(t, `tcp:${port}`, forever);
});

t.test('seconds', async (t) => {
  await readyBy(t, '0.5s', forever);
});

t.test('the kernel reads little ahead while something starts', async (t) => {
  const node = startNode(t);
  const { runFolder } = nodeConfig({ root: node.root }, node.env, process.getuid?.() ?? 0);
  const readsAhead = async (kibibytes: number) => {
    const device = (await findMount(join(runFolder, 'objects')))?.device;
    if (device === undefined) return false;
    return readFileSync(`/sys/class/bdi/${device}/read_ahead_kb`, 'utf8') === `${kibibytes}\n`;
  };
  const script = 'until [ -e /shared/go ]; do sleep 0.1; done; echo ready; sleep 600';
  const volume = ['-v', `${node.folder}:/shared`];
  const words = ['run', '--rm', '-q', '--ready', 'line:ready', ...volume, reference];
  const container = startThin(t, node, [...words, 'sh', '-c', script]);
  await until('it reads little ahead', () => readsAhead(32));
  writeFileSync(join(node.folder, 'go'), '');
  await until('it reads ahead as ever', () => readsAhead(1024));
  container.kill('SIGKILL');
});

t.test('what a sign may be', async (t) => {
  t.same(parseReadySign('health'), { kind: 'health' });
  t.same(parseReadySign('tcp:80'), { kind: 'tcp', port: 80 });
  t.same(parseReadySign('line: a: b'), { kind: 'line', text: ' a: b' });
  t.same(parseReadySign('2.5s'), { kind: 'seconds', seconds: 2.5 });
  t.same(parseReadySign('3'), { kind: 'seconds', seconds: 3 });
  for (const wrong of ['', 'tcp:', 'tcp:0', 'tcp:70000', 'line:', 'health:1', '1m', '-1']) {
    t.throws(() => parseReadySign(wrong), { code: 'invalid' }, wrong);
  }
  const node = startNode(t);
  const args = ['run', '--net', 'none', '--ready', 'tcp:80', reference, 'true'];
  t.match((await node.thin(args)).stderr, /--ready tcp with --net none/);
  const unhealthy = await node.thin(['run', '--rm', '--ready', 'health', reference, 'true']);
  t.equal(unhealthy.code, 2);
  t.match(unhealthy.stderr, /--ready health: the image has no health check/);
});
