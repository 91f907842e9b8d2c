import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import t, { type Test } from 'tap';
import { nodeConfig } from '../../src/config.js';
import type { WhyReport } from '../../src/daemon/observation.js';
import { startRegistry } from '../support/docker-registry.js';
import { pushToRegistry, testImage } from '../support/images.js';
import { runCommand } from '../support/run-command.js';
import { startTokenServer } from '../support/token-server.js';
import { onTerminal } from './terminal.js';
import {
  type StartedCommand,
  startNode,
  startThin,
  type TestNode,
  thinifyProgram,
  until,
} from './test-node.js';

t.setTimeout(240_000); // outages and deadlines take their time, on a busy machine
/** What lasts longer than one test. */
const all = t;
const registry = await startRegistry(all);
const python = `${registry.host}/python:1`;
const busybox = `${registry.host}/busybox:1`;
const pulled = `${registry.host}/pulled:1`;
await pushToRegistry(await testImage('python'), python);
await pushToRegistry(await testImage('busybox'), busybox);
await pushToRegistry(await testImage('busybox'), pulled);
await runCommand(process.execPath, [thinifyProgram, python]);
await runCommand(process.execPath, [thinifyProgram, busybox]);

/** Loads what it needs, says so, and reads a cold file when it is told to. */
const reader = `
import hashlib, os, time
open('/etc/hostname').read()
hashlib.sha256(b'').hexdigest()
print('ready', flush=True)
while not os.path.exists('/told/go'): time.sleep(0.02)
with open('/app/model.txt', 'rb') as file: print(hashlib.sha256(file.read()).hexdigest())
`;

/** Where the user of the image can look. */
function toldFolder(node: TestNode): string {
  const folder = join(node.folder, 'told');
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  return folder;
}

/** A container that stands before its first read of a cold file. */
async function startReader(t: Test, node: TestNode, name: string): Promise<StartedCommand> {
  const words = [
    '--name',
    name,
    '-v',
    `${toldFolder(node)}:/told:ro`,
    python,
    'python3',
    '-c',
    reader,
  ];
  const command = startThin(t, node, ['run', '--rm', ...words]);
  await command.printed('ready');
  return command;
}

const tellReaders = (node: TestNode) => writeFileSync(join(toldFolder(node), 'go'), '');

async function why(node: TestNode, name: string): Promise<WhyReport> {
  const { code, stdout, stderr } = await node.thin(['why', '--json', name]);
  if (code !== 0) throw new Error(`thin why exited with ${code}: ${stderr}`);
  return JSON.parse(stdout);
}

/** Values of the metrics by name and labels, as they stand on the page. */
async function metricsOf(page: { socketPath: string } | { port: number }) {
  const body = await new Promise<string>((resolve, reject) => {
    const asked = request({ ...page, path: '/metrics' }, (response) => {
      text(response).then(resolve, reject);
    });
    asked.on('error', reject).end();
  });
  const values = new Map<string, number>();
  for (const line of body.split('\n')) {
    const sample = /^([a-z0-9_:]+(?:\{(?:[a-z_]+="[^"]*",?)+\})?) ([-+0-9.e]+|NaN|[+-]Inf)$/i.exec(
      line,
    );
    if (sample) values.set(sample[1] ?? '', Number(sample[2]));
    else if (line !== '' && !/^# (HELP|TYPE) /.test(line)) throw new Error(`no metric: ${line}`);
  }
  return values;
}

function logOf(node: TestNode): Record<string, unknown>[] {
  const log = readFileSync(join(node.root, 'daemon.log'), 'utf8');
  return log
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line));
}

t.test('an outage is waited for, and can be seen', async (t) => {
  const node = startNode(t);
  const command = await startReader(t, node, 'patient');
  await registry.stop();
  tellReaders(node);
  await until('a read waits', async () => (await node.status()).waiting.length > 0);
  await until('the source is down', async () => {
    return (await why(node, 'patient')).sources[0]?.state === 'down';
  });
  const [waiting] = (await node.status()).waiting;
  t.match(waiting, {
    paths: ['/app/model.txt'],
    reference: python,
    mounts: ['patient'],
    sources: [python.replace(/:1$/, '')],
    size: 3_000_000,
    error: /no answer from/,
  });
  const { stdout: status } = await node.thin(['status']);
  t.match(status, /\nWAITING\n {2}\S+ s {2}\/app\/model\.txt, .* \(patient\) {2}Cannot /);
  const { stdout } = await node.thin(['why', 'patient']);
  t.match(stdout, /files: lazy: \d+ of \d+ files, .* of .* are here/);
  t.match(stdout, /source: .*\/python, DOWN, last answer .* ago/);
  t.match(stdout, /failed .* ago: .*\nWAITING\n {2}.*\/app\/model\.txt/);
  const { stdout: top } = await node.thin(['top', '--once', '--json']);
  t.match(JSON.parse(top).rows, [{ image: python, mounts: ['patient'], waiting: /^[1-9]/ }]);
  t.match((await node.thin(['top', '--once'])).stdout, /WAITING +HERE +IMAGE/);

  await startRegistry(all, { port: registry.port, root: registry.root });
  t.same(await command.ended, { code: 0, signal: null }, command.errors());
  const { stdout: model } = await node.thin(['cat', python, '/app/model.txt']);
  const { createHash } = await import('node:crypto');
  t.match(command.output(), createHash('sha256').update(model).digest('hex'));
  t.strictSame((await node.status()).waiting, []);
  const messages = logOf(node).map(({ msg }) => msg);
  t.ok(messages.includes('source is down, reads wait'));
  t.ok(messages.includes('source is back'));
  t.notOk(messages.includes('a read failed'));
});

t.test('after the deadline programs see an error, which is counted', async (t) => {
  const environment = { THINFS_READ_DEADLINE: '2s', THINFS_METRICS: '0' };
  const node = startNode(t, environment);
  const again = await startRegistry(t, { root: registry.root });
  const here = python.replace(registry.host, again.host);
  const words = ['-v', `${toldFolder(node)}:/told:ro`, here, 'python3', '-c', reader];
  const command = startThin(t, node, ['run', '--rm', ...words]);
  await command.printed('ready');
  await again.stop();
  tellReaders(node);
  t.same(await command.ended, { code: 1, signal: null });
  t.match(command.errors(), /OSError: \[Errno 5\] Input\/output error/);
  const failed = logOf(node).filter(({ msg }) => msg === 'a read failed');
  t.equal(failed.length, 1, 'told once for the file');
  t.match(failed[0], {
    code: 'unavailable',
    reason: /did not come in 2\.00 s: Cannot .*no answer/,
  });
  const served = logOf(node).find(({ msg }) => msg === 'metrics are served');
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

t.test('what is told of images in each state', async (t) => {
  const node = startNode(t);
  t.equal((await node.thin(['why', 'nobody'])).code, 3);
  const at = join(node.folder, 'mnt');
  t.equal((await node.thin(['mount', '--read-only', busybox, at])).code, 0);
  const lazy = await why(node, join(at, 'bin', 'sh'));
  t.match(lazy, { state: 'lazy', kind: 'thin', mount: { target: at }, references: [busybox] });
  t.ok(lazy.local && lazy.local.localFiles < lazy.local.files);
  await runCommand('sh', ['-c', 'find "$0" -type f -exec cat {} + >"$1"', at, '/dev/null']);
  await until('it is complete', async () => (await why(node, at)).state === 'complete');
  const text = (await node.thin(['why', at])).stdout;
  t.match(
    text,
    /files: complete: (\d+) of \1 files, .*; no store is needed\ntiers: local \(.*\)\n/,
  );
  t.match(text, /so far: [1-9]\d* reads .*, [1-9]\d* requests, .* fetched, 0 failed\n/);
  t.match(
    text,
    /source: .*\/busybox, works, last answer .*, first byte after .*\nnothing waits\n$/,
  );
  t.equal((await node.thin(['unmount', at])).code, 0);
  t.notOk((await why(node, busybox)).mount, 'by its name, when nothing has mounted it');
});

t.test('thin top on a terminal, until q', async (t) => {
  const node = startNode(t);
  t.equal((await node.thin(['mount', '--read-only', busybox, join(node.folder, 'mnt')])).code, 0);
  const { stdout, code } = await onTerminal(node, ['top'], 'q', ['busybox:1']);
  t.equal(code, 0, stdout);
  t.match(stdout, /thin top: 0 reads wait.*FETCHED\/S.*IMAGE.*busybox:1 /s);
  t.ok(stdout.startsWith('\x1b[?1049h'), 'on a screen of its own');
  t.ok(stdout.endsWith('\x1b[?1049l'), 'which is left as it was');
});

t.test('what is told of an image that has no thin form', async (t) => {
  const node = startNode(t);
  t.equal((await node.thin(['run', '--name', 'full', pulled, 'true'])).code, 0);
  const { stdout } = await node.thin(['why', 'full']);
  t.match(stdout, /mount: container full, ended with 0\n/);
  t.match(stdout, /files: complete: pulled in full/);
  const { socket } = nodeConfig({ root: node.root }, process.env, process.getuid?.() ?? 0);
  const metrics = await metricsOf({ socketPath: socket });
  t.equal(metrics.get('thinfs_images{kind="pulled"}'), 1);
  t.ok((metrics.get('thinfs_cache_files{state="complete"}') ?? 0) > 0);
  t.ok((metrics.get('thinfs_cache_bytes{tier="local"}') ?? 0) > 0);
  t.equal(metrics.get('thinfs_evicted_files_total{tier="local"}'), 0);
  const table = readFileSync(new URL('../../src/daemon/METRICS.md', import.meta.url), 'utf8');
  const names = [...metrics.keys()].map((sample) => sample.replace(/\{.*/, ''));
  const ours = names.filter(
    (name) => name.startsWith('thinfs_') && !/_(sum|bucket|count)$/.test(name),
  );
  for (const name of ours) t.match(table, `| \`${name}\` |`, 'it is in METRICS.md');
});

t.test('tokens that expire while a container reads', async (t) => {
  const node = startNode(t);
  const tokens = await startTokenServer(t, (_, { actions }) => actions, 1);
  const guarded = await startRegistry(t, { token: tokens.registryOptions, root: registry.root });
  const image = python.replace(registry.host, guarded.host);
  const slowly = `
import glob, time
files = sorted(glob.glob('/usr/lib/python3*/*.py'))[:40]
for path in files:
    open(path, 'rb').read()
    time.sleep(0.1)
print('read', len(files))
`;
  const { code, stdout, stderr } = await node.thin(
    ['run', '--rm', image, 'python3', '-c', slowly],
    { timeoutMs: 120_000 },
  );
  t.same([code, stdout], [0, 'read 40\n'], stderr);
  const fetched = tokens.server.received.length;
  t.ok(fetched > 3, `${fetched} tokens were fetched`);
});
