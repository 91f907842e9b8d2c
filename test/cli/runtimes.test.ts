import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { startRegistry } from '../support/docker-registry.js';
import { pushToRegistry, testImage } from '../support/images.js';
import { startNode, startThin, until } from './test-node.js';

t.setTimeout(400_000); // dozens of processes on a busy machine
const registry = await startRegistry(t);
const image = `${registry.host}/busybox:1`;
await pushToRegistry(await testImage('busybox'), image);
const node = startNode(t);

/** crun refuses a hybrid of cgroup versions; without the second it takes the first. */
const crun = join(node.folder, 'crun');
const script = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec crun "$@"';
writeFileSync(crun, `#!/bin/sh\nexec unshare --mount sh -c '${script}' crun "$@"\n`, {
  mode: 0o755,
});

for (const [name, runtime] of Object.entries({ runc: 'runc', crun })) {
  t.test(`${name} runs containers`, async (t) => {
    const run = (flags: string[], command: string[]) =>
      node.thin(['run', '--rm', '-q', '--runtime', runtime, ...flags, image, ...command]);
    const script = 'echo "$0 $A $(id -u) $(pwd)"; echo no >&2; exit 7';
    const flags = ['-e', 'A=b', '-u', '65534', '-w', '/tmp'];
    const done = await run(flags, ['sh', '-c', script, 'x y']);
    t.same([done.code, done.stdout, done.stderr], [7, 'x y b 65534 /tmp\n', 'no\n']);
    const missing = await run([], ['no-such-program']);
    t.equal(missing.code, 127, missing.stderr);
    t.equal((await run([], ['/etc/passwd'])).code, 126, 'no program');
    t.equal((await run(['--net', 'none'], ['ls', '/sys/class/net'])).stdout, 'lo\n');
    const eat = ['dd', 'if=/dev/zero', 'of=/dev/null', 'bs=100M', 'count=1'];
    t.equal((await run(['--memory', '20M'], eat)).code, 137, 'the kernel ends it');
    t.strictSame((await node.status()).mounts, [], 'nothing is left');
  });

  t.test(`signals reach what ${name} runs`, async (t) => {
    const script = `trap 'echo told; exit 5' TERM; echo ready; while sleep 0.05; do :; done`;
    const words = ['run', '--rm', '-q', '--runtime', runtime, image, 'sh', '-c', script];
    const command = startThin(t, node, words);
    await command.printed('ready');
    command.kill('SIGTERM');
    t.same(await command.ended, { code: 5, signal: null }, command.errors());
    t.match(command.output(), /told\n$/);
  });
}

t.test('a runtime by its path, and none', async (t) => {
  const folder = t.testdir({});
  copyFileSync('/usr/sbin/runc', join(folder, 'my-runtime'));
  const words = ['run', '--rm', '-q', '--runtime', './my-runtime', image, 'echo', 'here'];
  const done = await node.thin(words, { cwd: folder });
  t.same([done.code, done.stdout], [0, 'here\n'], done.stderr);
  for (const runtime of ['no-such-runtime', '/no/such/runtime', './none']) {
    const none = await node.thin(['run', '--runtime', runtime, image, 'true']);
    t.equal(none.code, 3, runtime);
    t.match(none.stderr, /^error: Cannot run containers: there is no program [^\n]+\n$/);
  }
  t.strictSame((await node.status()).mounts, []);
  t.notMatch(readFileSync(join(node.root, 'daemon.log'), 'utf8'), /defect/);
});

t.test('a container of crun outlives its command and its daemon', async (t) => {
  const folder = t.testdir({});
  const script = 'echo ready; while [ ! -e /v/end ]; do sleep 0.05; done; echo done > /v/result';
  const flags = ['--rm', '-q', '--runtime', crun, '--name', 'long', '-v', `${folder}:/v`];
  const command = startThin(t, node, ['run', ...flags, image, 'sh', '-c', script]);
  await command.printed('ready');
  command.kill('SIGKILL');
  const { pid, mounts } = await node.status();
  t.match(mounts, [{ id: 'long' }], 'it runs on');
  process.kill(pid, 'SIGKILL');
  t.match((await node.status()).mounts, [{ id: 'long' }], 'the next daemon has it');
  writeFileSync(join(folder, 'end'), '');
  await until('it is forgotten', async () => (await node.status()).mounts.length === 0);
  t.equal(readFileSync(join(folder, 'result'), 'utf8'), 'done\n');
  await command.ended; // its standard output is closed
});
