import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { cleanUp } from '../support/clean-up.js';
import { startRegistry } from '../support/docker-registry.js';
import { freePort } from '../support/free-port.js';
import { runCommand } from '../support/run-command.js';
import { startTokenServer } from '../support/token-server.js';
import { metricsOf } from './metrics-page.js';
import { makeRootfs } from './small-rootfs.js';
import {
  type StartedCommand,
  setReadDeadline,
  startNode,
  startThin,
  type TestNode,
  thinifyProgram,
  until,
} from './test-node.js';
import { why } from './why-report.js';

t.setTimeout(400_000); // outages and deadlines take their time, on a busy machine
t.jobs = 3; // which is waiting most of all: each has a node and a registry of its own
/** What lasts longer than one test. */
const all = t;
const registry = await startRegistry(all, { port: await freePort() }); // it comes back there
const image = `${registry.host}/files:1`;
const rootfs = mkdtempSync(join(tmpdir(), 'thinfs-outage-'));
cleanUp(all, () => rmSync(rootfs, { recursive: true, force: true }));
const [count, bytes] = [60, 300_000];
makeRootfs(rootfs, { count, bytes });
await runCommand(process.execPath, [thinifyProgram, '-q', `dir:${rootfs}`, '--name', image]);
/** One that is read late, and one that is not read by the container: far from what is read first. */
const [cold, other] = ['/data/30', '/data/45'];

/** Loads what it needs, says so, and reads a cold file when it is told to. */
const reader = `
cat /etc/passwd > /dev/null
echo ready
while [ ! -e /told/go ]; do sleep 0.05; done
cat ${cold} > /tmp/copy || exit 1
sha256sum < /tmp/copy`;

/** What nobody asks for stays cold, however long a test takes. */
const onlyWanted = { THINFS_COMPLETE: 'never', THINFS_PREFETCH: 'none' };

/** Where the user of the image can look. */
function toldFolder(node: TestNode): string {
  const folder = join(node.folder, 'told');
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  return folder;
}

/** A container that stands before its first read of a cold file. */
async function startReader(t: Test, node: TestNode, name: string): Promise<StartedCommand> {
  const words = ['--name', name, '-v', `${toldFolder(node)}:/told:ro`, image, 'sh', '-c', reader];
  const command = startThin(t, node, ['run', '--rm', ...words]);
  await command.printed('ready');
  return command;
}

const tellReaders = (node: TestNode) => writeFileSync(join(toldFolder(node), 'go'), '');

function logOf(node: TestNode): Record<string, unknown>[] {
  const log = readFileSync(join(node.root, 'daemon.log'), 'utf8');
  return log
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line));
}

t.test('an outage is waited for, and can be seen', async (t) => {
  const node = startNode(t, onlyWanted);
  const command = await startReader(t, node, 'patient');
  await registry.stop();
  tellReaders(node);
  await until('a read waits', async () => (await node.status()).waiting.length > 0);
  await until('the source is down', async () => {
    return (await why(node, 'patient')).sources[0]?.state === 'down';
  });
  const [waiting] = (await node.status()).waiting;
  t.match(waiting, {
    paths: [cold],
    reference: image,
    mounts: ['patient'],
    sources: [image.replace(/:1$/, '')],
    size: bytes,
    error: /no answer from/,
  });
  const { stdout: status } = await node.thin(['status']);
  t.match(status, /\nWAITING\n {2}\S+ s {2}\/data\/30, .* \(patient\) {2}Cannot /);
  const { stdout } = await node.thin(['why', 'patient']);
  t.match(stdout, /files: lazy: \d+ of \d+ files, .* of .* are here/);
  t.match(stdout, /source: .*\/files, DOWN, last answer .* ago/);
  t.match(stdout, /failed .* ago: .*\nWAITING\n {2}.*\/data\/30/);
  const { stdout: top } = await node.thin(['top', '--once', '--json']);
  t.match(JSON.parse(top).rows, [{ image, mounts: ['patient'], waiting: /^[1-9]/ }]);
  t.match((await node.thin(['top', '--once'])).stdout, /WAITING +HERE +IMAGE/);

  await startRegistry(all, { port: registry.port, root: registry.root });
  t.same(await command.ended, { code: 0, signal: null }, command.errors());
  const right = createHash('sha256')
    .update(readFileSync(join(rootfs, cold)))
    .digest('hex');
  t.match(command.output(), right);
  t.strictSame((await node.status()).waiting, []);
  const messages = logOf(node).map(({ msg }) => msg);
  t.ok(messages.includes('source is down, reads wait'));
  t.ok(messages.includes('source is back'));
  t.notOk(messages.includes('a read failed'));
});

t.test('after the deadline programs see an error, which is counted', async (t) => {
  const node = startNode(t, { ...onlyWanted, THINFS_METRICS: '0' });
  const again = await startRegistry(t, { root: registry.root });
  const here = image.replace(registry.host, again.host);
  const words = ['-v', `${toldFolder(node)}:/told:ro`, here, 'sh', '-c', reader];
  const command = startThin(t, node, ['run', '--rm', ...words]);
  await command.printed('ready');
  await setReadDeadline(node, '4s');
  await until('something comes', async () => {
    return (await node.thin(['cat', here, other])).code === 0;
  });
  await again.stop();
  tellReaders(node);
  t.same(await command.ended, { code: 1, signal: null });
  t.match(command.errors(), /^cat: [^\n]*Input\/output error$/m);
  const { stdout } = await node.thin(['stat', '--json', here, cold]);
  const { digest } = JSON.parse(stdout);
  const failed = logOf(node).filter((line) => {
    return line.msg === 'a read failed' && line.content === digest;
  });
  t.equal(failed.length, 1, 'told once for the file');
  t.match(failed[0], {
    code: 'unavailable',
    reason: /did not come in 4\.00 s: Cannot .*no answer/,
  });
  const served = logOf(node).findLast(({ msg }) => msg === 'metrics are served');
  const metrics = await metricsOf({ port: Number(served?.port) });
  t.ok((metrics.get('thinfs_reads_total{outcome="unavailable"}') ?? 0) > 0);
  t.ok((metrics.get('thinfs_read_seconds_count{outcome="unavailable"}') ?? 0) > 0);
  t.ok((metrics.get(`thinfs_source_failures_total{source="${again.host}"}`) ?? 0) > 0);
  t.ok((metrics.get(`thinfs_source_bytes_total{source="${again.host}"}`) ?? 0) > 0);
  t.equal(metrics.get(`thinfs_source_up{source="${again.host}"}`), 0);
  t.equal(metrics.get('thinfs_images{kind="thin"}'), 1);
  t.equal(metrics.get('thinfs_reads_waiting'), 0);
  for (const name of ['process_resident_memory_bytes', 'nodejs_eventloop_lag_p99_seconds']) {
    t.ok(metrics.has(name), name);
  }
});

t.test('tokens that expire while a container reads', async (t) => {
  const node = startNode(t);
  const tokens = await startTokenServer(t, (_, { actions }) => actions, 1);
  const guarded = await startRegistry(t, { token: tokens.registryOptions, root: registry.root });
  const here = image.replace(registry.host, guarded.host);
  const slowly = `
n=0
while [ $n -lt 40 ]; do
  cat /data/$n > /dev/null || exit 1
  sleep 0.1
  n=$((n + 1))
done
echo read $n`;
  const { code, stdout, stderr } = await node.thin(['run', '--rm', here, 'sh', '-c', slowly]);
  t.same([code, stdout], [0, 'read 40\n'], stderr);
  const fetched = tokens.server.received.length;
  t.ok(fetched > 3, `${fetched} tokens were fetched`);
});
