import t from 'tap';
import { startRegistry } from '../support/docker-registry.js';
import { pushToRegistry, testImage } from '../support/images.js';
import { runCommand } from '../support/run-command.js';
import { onTerminal } from './terminal.js';
import { mountsBelow, startNode, startThin, until } from './test-node.js';

const registry = await startRegistry(t);
const image = `${registry.host}/busybox:1`;
await pushToRegistry(await testImage('busybox'), image);
const node = startNode(t);

const waiting = 'echo ready; while sleep 0.05; do :; done; exit 50';

t.test('signals reach the command, which decides', async (t) => {
  const script = `trap 'echo told; exit 5' TERM; trap 'echo counted' USR1; ${waiting}`;
  const handler = startThin(t, node, ['run', '--rm', image, 'sh', '-c', script]);
  await handler.printed('ready');
  handler.kill('SIGUSR1');
  await handler.printed('counted');
  handler.kill('SIGTERM');
  t.same(await handler.ended, { code: 5, signal: null });
  t.match(handler.output(), /told\n$/);
  t.strictSame((await node.status()).mounts, []);
});

t.test('a command without a handler ends with 128 and the signal', async (t) => {
  // The first process of a container has no default handlers; its child has.
  const script = `trap 'kill $!; wait $!; exit $?' TERM INT; sleep 1000 & echo ready; wait $!`;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const command = startThin(t, node, ['run', '--rm', image, 'sh', '-c', script]);
    await command.printed('ready');
    command.kill(signal);
    t.same(await command.ended, { code: 143, signal: null }, signal);
  }
});

t.test('who loses patience can end a command that ignores Ctrl-C', async (t) => {
  const script = `trap '' INT; trap 'echo asked' TERM; ${waiting}`;
  const stubborn = startThin(t, node, ['run', '--rm', image, 'sh', '-c', script]);
  await stubborn.printed('ready');
  stubborn.kill('SIGINT');
  stubborn.kill('SIGTERM');
  await stubborn.printed('asked');
  stubborn.kill('SIGINT');
  await until('it is told what a third one does', () => /once more/.test(stubborn.errors()));
  stubborn.kill('SIGINT');
  t.same(await stubborn.ended, { code: 137, signal: null });
  t.strictSame((await node.status()).mounts, []);
});

t.test('a real terminal', async (t) => {
  // runc gives the terminal its size a moment after the command has started.
  const sized = 'until [ "$(stty size 2> /dev/null)" = "33 99" ]; do sleep 0.05; done; stty size';
  const script = `tty; test -t 0 && test -t 1 && echo both; ${sized}; read line; echo "<$line>"; exit 6`;
  const { stdout, code } = await onTerminal(
    node,
    ['run', '--rm', '-q', '-it', image, 'sh', '-c', script],
    'typed\n',
    ['33 99'],
  );
  t.equal(code, 6, stdout);
  t.match(stdout, /\/dev\/pts\/0\r\nboth\r\n33 99\r\n/, 'of the size of ours');
  t.match(stdout, /<typed>/);
  const refused = await node.thin(['run', '--rm', '-t', image, 'true']);
  t.equal(refused.code, 2, 'not without one');
});

t.test('Ctrl-C at the terminal', async (t) => {
  const script = `trap 'echo interrupted; exit 9' INT; ${waiting}`;
  const typed = await onTerminal(
    node,
    ['run', '--rm', '-q', '-it', image, 'sh', '-c', script],
    '\x03',
    ['ready'],
  );
  t.match(typed.stdout, /interrupted/);
  t.equal(typed.code, 9);
  t.strictSame((await node.status()).mounts, []);
});

t.test('a command that is killed leaves its container to end by itself', async (t) => {
  const folder = t.testdir({});
  const script = 'echo ready; while [ ! -e /v/end ]; do sleep 0.05; done; echo done > /v/result';
  const flags = ['--rm', '--name', 'orphan', '-v', `${folder}:/v`];
  const killed = startThin(t, node, ['run', ...flags, image, 'sh', '-c', script]);
  await killed.printed('ready');
  killed.kill('SIGKILL');
  t.equal((await node.status()).mounts[0]?.id, 'orphan', 'it runs on');
  t.equal((await node.thin(['rm', 'orphan'])).code, 8, 'and cannot be removed');
  await runCommand('touch', [`${folder}/end`]);
  await until('the container is forgotten', async () => (await node.status()).mounts.length === 0);
  t.equal((await runCommand('cat', [`${folder}/result`])).stdout, 'done\n');
  t.strictSame(mountsBelow(`${node.root}/containers`), []);
});

t.test('a daemon that is killed under a running container', async (t) => {
  const script = `trap 'cat /etc/group | wc -l; exit 7' TERM; ${waiting}`;
  const flags = ['--rm', '-q', '--name', 'cut'];
  const running = startThin(t, node, ['run', ...flags, image, 'sh', '-c', script]);
  await running.printed('ready');
  const { pid } = await node.status();
  process.kill(pid, 'SIGKILL');
  const again = await node.thin(['run', '--rm', '-q', image, 'echo', 'served']);
  t.equal(again.stdout, 'served\n', again.stderr);
  t.match((await node.status()).mounts, [{ id: 'cut' }], 'the next one has it');
  running.kill('SIGTERM');
  t.same(await running.ended, { code: 7, signal: null }, running.errors());
  t.match(running.output(), /\n[1-9]\d*\n$/, 'it could read to its end');
  t.strictSame((await node.status()).mounts, []);
  t.strictSame(mountsBelow(node.root), []);
});

t.test('gc right after the daemon was killed', async (t) => {
  const ran = await node.thin(['run', '--rm', '-q', image, 'true']);
  t.equal(ran.code, 0, ran.stderr);
  const { pid, images } = await node.status();
  t.equal(images.length, 1);
  process.kill(pid, 'SIGKILL'); // its parent may be slow to ask for it: it can be seen in /proc
  t.match(await node.thin(['gc', '--all']), { code: 0, stdout: /^removed 1 images/ });
  t.match(await node.status(), { images: [], cache: { files: 0, partialFiles: 0 } });
});

t.test('one daemon to a root', async (t) => {
  const second = await node.thin(['daemon', 'run']);
  t.equal(second.code, 8);
  t.match(second.stderr, /^error: .*\n$/m);
  const { pid } = await node.status();
  await node.stop();
  const commands = await Promise.all([node.status(), node.status(), node.status()]);
  t.equal(new Set(commands.map((status) => status.pid)).size, 1, 'three commands, one daemon');
  t.not(commands[0]?.pid, pid, 'a new one');
  t.equal((await node.thin(['daemon', 'start'])).code, 0);
});
