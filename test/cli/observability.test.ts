import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { nodeConfig } from '../../src/config.js';
import { startRegistry } from '../support/docker-registry.js';
import { pushToRegistry, testImage } from '../support/images.js';
import { runCommand } from '../support/run-command.js';
import { metricsOf } from './metrics-page.js';
import { onTerminal } from './terminal.js';
import { startNode, thinifyProgram, until } from './test-node.js';
import { why } from './why-report.js';

t.setTimeout(400_000); // a conversion and a few daemons, on a busy machine
const registry = await startRegistry(t);
const busybox = `${registry.host}/busybox:1`;
const pulled = `${registry.host}/pulled:1`;
await pushToRegistry(await testImage('busybox'), busybox);
await pushToRegistry(await testImage('busybox'), pulled);
await runCommand(process.execPath, [thinifyProgram, busybox]);

t.test('what is told of images in each state', async (t) => {
  const node = startNode(t, { THINFS_COMPLETE: 'never' });
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
