import t from 'tap';
import { startRegistry } from '../support/docker-registry.js';
import { freePort } from '../support/free-port.js';
import { pushToRegistry, testImage } from '../support/images.js';
import type { RunCommandOptions } from '../support/run-command.js';
import { startNode } from './test-node.js';

t.setTimeout(400_000); // dozens of processes on a busy machine
const registry = await startRegistry(t);
const image = `${registry.host}/busybox:1`;
await pushToRegistry(await testImage('busybox'), image);
const node = startNode(t);

/** `thin run --rm -q <flags> busybox <command>`. */
function run(flags: string[], command: string[], options?: RunCommandOptions) {
  return node.thin(['run', '--rm', '-q', ...flags, image, ...command], options);
}

t.test('an image without a thin form is pulled in full, and says so', async (t) => {
  const first = await node.thin(['run', '--rm', image, 'echo', 'here']);
  t.equal(first.stdout, 'here\n');
  t.equal(first.code, 0, first.stderr);
  t.match(first.stderr, /busybox:1 has no thin form: pulling 3 layers, .* in full/);
  const again = await node.thin(['run', '--rm', image, 'echo', 'here']);
  t.same([again.code, again.stdout, again.stderr], [0, 'here\n', ''], 'and is then here');
});

t.test("the exit code is the command's own", async (t) => {
  t.equal((await run([], ['sh', '-c', 'exit 7'])).code, 7);
  const missing = await run([], ['no-such-program']);
  t.equal(missing.code, 127, 'no such command');
  t.match(missing.stderr, /no-such-program/);
  t.equal((await run([], ['/etc/passwd'])).code, 126, 'no program');
});

t.test('environment, folder, user and entry point', async (t) => {
  const flags = [
    '-e',
    'A=of ours',
    '-e',
    'TAKEN',
    '-e',
    'ABSENT',
    '-w',
    '/made/for it',
    '-u',
    '65534',
  ];
  const script = 'echo "$A|$TAKEN|$ABSENT|$HOME|$(pwd)|$(id -u):$(id -g)"';
  const { stdout, stderr } = await run(flags, ['sh', '-c', script], {
    env: { TAKEN: 'from outside', ABSENT: undefined },
  });
  t.equal(stdout, 'of ours|from outside||/|/made/for it|65534:65534\n', stderr);
  const named = await run(['-u', 'nobody:root', '--entrypoint', '/bin/id'], ['-un']);
  t.equal(named.stdout, 'nobody\n', named.stderr);
  const stranger = await run(['-u', 'nobody-here'], ['true']);
  t.equal(stranger.code, 2);
  t.match(stranger.stderr, /^error: .*nobody-here/);
});

t.test('a container is kept under its name, unless --rm says otherwise', async (t) => {
  const kept = await node.thin(['run', '--name', 'kept', '-q', image, 'sh', '-c', 'exit 3']);
  t.equal(kept.code, 3, kept.stderr);
  const ended = (await node.status()).mounts;
  t.match(ended, [{ id: 'kept', kind: 'container', exitCode: 3 }]);
  t.equal(ended.length, 1, 'those run with --rm are forgotten');
  const taken = await run(['--name', 'kept'], ['true']);
  t.equal(taken.code, 8);
  t.match(taken.stderr, /^error: Cannot name a container kept: .*thin rm kept/);
  t.equal((await run(['--name', '../escape'], ['true'])).code, 2);
  t.equal((await node.thin(['rm', 'kept'])).code, 0);
  t.equal((await node.thin(['rm', 'kept'])).code, 3, 'it is gone');
  t.strictSame((await node.status()).mounts, []);
});

t.test('containers write into layers of their own', async (t) => {
  const write = 'echo changed > /etc/passwd && rm /etc/group && echo new > /new && cat /new';
  t.equal((await run([], ['sh', '-c', write])).stdout, 'new\n');
  const after = await run([], ['sh', '-c', 'head -c 4 /etc/passwd; ls /etc/group; test -e /new']);
  t.equal(after.stdout, 'root/etc/group\n');
  t.equal(after.code, 1);
  const refused = await run(['--read-only'], ['sh', '-c', 'cat /etc/group && echo > /new']);
  t.match(refused.stderr, /Read-only file system/);
  t.match(refused.stdout, /^root:/);
  t.equal(refused.code, 1);
});

t.test('volumes', async (t) => {
  const folder = t.testdir({ data: { file: 'of the host' } });
  const script = 'cat /v/file && echo written > /v/new';
  const written = await run(['-v', `${folder}/data:/v`], ['sh', '-c', script]);
  t.same([written.code, written.stdout], [0, 'of the host'], written.stderr);
  const fromHere = ['-v', './data:/v', '-v', './data/new:/single:ro'];
  const relative = await run(fromHere, ['cat', '/v/new', '/single'], { cwd: folder });
  t.equal(relative.stdout, 'written\nwritten\n', relative.stderr);
  const readOnly = await run(['-v', `${folder}/data:/v:ro`], ['touch', '/v/new']);
  t.match(readOnly.stderr, /Read-only file system/);
  t.equal((await run(['-v', `${folder}/absent:/v`], ['true'])).code, 3, 'nothing there');
  t.equal((await run(['-v', `${folder}:/`], ['true'])).code, 2, 'over the image');
  t.equal((await run(['-v', folder], ['true'])).code, 2, 'no place in the container');
});

t.test('network, memory and host name', async (t) => {
  const links = await run(
    ['--net', 'none', '--hostname', 'alone'],
    ['sh', '-c', 'ls /sys/class/net; hostname'],
  );
  t.equal(links.stdout, 'lo\nalone\n', links.stderr);
  const { port } = registry;
  const host = await run([], ['wget', '-q', '-O', '-', `http://127.0.0.1:${port}/v2/`]);
  t.equal(host.stdout, '{}', "the host's network is there without the flag");
  t.equal((await run(['--net', 'bridge'], ['true'])).code, 2);
  const eat = ['dd', 'if=/dev/zero', 'of=/dev/null', 'bs=100M', 'count=1'];
  t.equal((await run(['--memory', '400M'], eat)).code, 0);
  t.equal((await run(['--memory', '20M'], eat)).code, 137, 'the kernel ends it');
  t.equal((await run(['--memory', 'much'], ['true'])).code, 2);
});

t.test('standard input is given with -i only', async (t) => {
  const big = Buffer.alloc(3_000_000, 'thinfs ');
  const sum = await run(['-i'], ['wc', '-c'], { input: big });
  t.equal(sum.stdout.trim(), '3000000', sum.stderr);
  t.equal((await run([], ['wc', '-c'], { input: 'unheard' })).stdout.trim(), '0');
});

t.test('what cannot be had, and who says so', async (t) => {
  const code = async (...args: string[]) => {
    const { code, stderr } = await node.thin(['run', '--rm', ...args]);
    t.match(stderr, /^error: Cannot [^\n]+\n$/, `one line: ${args.join(' ')}`);
    return code;
  };
  t.equal(await code(`${registry.host}/busybox:none`, 'true'), 3, 'no such tag');
  t.equal(await code(`${registry.host}/none:1`, 'true'), 3, 'no such repository');
  t.equal(await code(`127.0.0.1:${await freePort()}/busybox:1`, 'true'), 5, 'no registry there');
  t.equal(await code('Busy Box', 'true'), 2, 'no reference');
  t.equal(await code('--platform', 'linux/s390x', image, 'true'), 3, 'another platform');
  t.equal(await code('--pull', 'never', `${registry.host}/busybox:other`, 'true'), 3);
  t.equal(await code('--pull', 'sometimes', image, 'true'), 2);
  t.equal((await node.thin(['run', '--no-such-flag', image])).code, 2);
  t.strictSame((await node.status()).mounts, [], 'nothing is left of them');
});

t.test('what is here needs no registry', async (t) => {
  await registry.stop();
  t.equal((await run([], ['echo', 'here'])).stdout, 'here\n');
  t.equal((await run(['--pull', 'never'], ['true'])).code, 0);
  t.equal((await run(['--pull', 'always'], ['true'])).code, 5);
});
