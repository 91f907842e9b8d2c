import { spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { freePort } from '../support/free-port.js';
import { runCommand } from '../support/run-command.js';
import { holderOf, killServer, type ShownStatus, serving } from './holder-status.js';
import { makeRootfs } from './small-rootfs.js';
import {
  isAlive,
  startNode,
  startThin,
  type TestNode,
  thinifyProgram,
  until,
} from './test-node.js';

t.jobs = 3; // each has a node of its own
t.setTimeout(900_000); // dozens of processes on a busy machine

async function isRunning(node: TestNode): Promise<boolean> {
  return (await node.thin(['daemon', 'status'])).code === 0;
}

/** Kills the server and waits until the holder has another one that serves. */
async function nextServer(node: TestNode): Promise<ShownStatus> {
  await killServer(node);
  return await serving(node);
}

/** What the C library is told of memory. */
function allocatorOf({ serverPid }: ShownStatus): string[] {
  const variables = readFileSync(`/proc/${serverPid}/environ`, 'latin1').split('\0');
  return variables.filter((variable) => variable.startsWith('MALLOC_')).sort();
}

/** The programs as another version of thin has them. */
function copyProgram(folder: string, version: string): string {
  const project = fileURLToPath(new URL('../..', import.meta.url));
  const copy = join(folder, version);
  for (const part of ['dist/src', 'dist/native-bindings', 'native-bindings/build']) {
    cpSync(join(project, part), join(copy, part), { recursive: true });
  }
  symlinkSync(join(project, 'node_modules'), join(copy, 'node_modules'));
  const description = readFileSync(join(project, 'package.json'), 'utf8');
  writeFileSync(
    join(copy, 'package.json'),
    description.replace(/"version": "[^"]*"/, `"version": "${version}"`),
  );
  return join(copy, 'dist/src/cli/thin.js');
}

/** The module that a program's server begins with, as the bundle has it. */
function serverOf(program: string): string {
  const parts = join(program, '../../thin-parts');
  const [name] = readdirSync(parts).filter((part) => /^serve-\w+\.js$/.test(part));
  if (name === undefined) throw new Error(`no server in ${parts}`);
  return join(parts, name);
}

t.test('a server that is killed comes back under the same holder', async (t) => {
  const node = startNode(t);
  const { pid: serverPid } = await node.status();
  const before = await holderOf(node);
  t.match(before, { phase: 'serving', serverPid, crashes: 0, needed: false });
  const after = await nextServer(node);
  t.match(after, { pid: before.pid, crashes: 1, lastError: RegExp(`${serverPid}`) });
  t.equal((await node.status()).pid, after.serverPid, 'commands reach it');
  const { stdout } = await node.thin(['daemon', 'status']);
  t.match(stdout, /deaths of the server: 1; the last: server/);
});

t.test('a holder that is killed gets a successor, and the server does not notice', async (t) => {
  const node = startNode(t);
  const { pid: serverPid, startedAt } = await node.status();
  let { pid } = await holderOf(node);
  for (const round of [1, 2]) {
    process.kill(pid, 'SIGKILL');
    const dead = pid;
    await until('there is a successor', () => isRunning(node));
    const successor = await holderOf(node);
    pid = successor.pid;
    t.not(pid, dead);
    t.match(successor, { phase: 'serving', serverPid }, `round ${round}`);
  }
  t.equal((await node.status()).startedAt, startedAt);
  t.match(await nextServer(node), { pid }, 'the successor starts servers too');
  t.equal((await node.thin(['daemon', 'stop'])).code, 0);
  t.notOk(await isRunning(node));
});

t.test('both killed: the next command starts all anew', async (t) => {
  const node = startNode(t);
  await node.status();
  const { pid, serverPid } = await holderOf(node);
  process.kill(pid, 'SIGSTOP'); // so that it starts no server
  process.kill(Number(serverPid), 'SIGKILL');
  process.kill(pid, 'SIGKILL');
  await until('both are gone', () => !isAlive(pid) && !isAlive(Number(serverPid)));
  t.not((await node.status()).pid, serverPid);
  t.not((await holderOf(node)).pid, pid);
});

t.test('start, stop, restart', async (t) => {
  const node = startNode(t);
  t.equal((await node.thin(['daemon', 'stop'])).code, 0, 'nothing to stop');
  t.equal((await node.thin(['daemon', 'status'])).code, 3);
  await node.thin(['daemon', 'start', '--cache-size', '1G']);
  const first = await holderOf(node);
  const allocator = allocatorOf(first);
  t.equal((await node.thin(['daemon', 'start'])).code, 0, 'it runs');
  t.match(await holderOf(node), { pid: first.pid, serverPid: first.serverPid });
  t.equal((await node.thin(['daemon', 'restart', '--free-space', '3M'])).code, 0);
  const second = await holderOf(node);
  t.match(second, { pid: first.pid, phase: 'serving', crashes: 0 });
  t.not(second.serverPid, first.serverPid);
  const { cache } = await node.status();
  t.match(cache, { quota: 2 ** 30, freeSpaceFloor: 3 * 2 ** 20 }, 'old flags and new');
  const next = await nextServer(node);
  t.match(next.flags, { 'cache-size': ['--cache-size', '1G'] });
  t.equal(allocator.length, 2);
  t.same(allocatorOf(next), allocator, 'whoever starts a server, its memory is kept small');
  t.equal((await node.status()).cache.freeSpaceFloor, 3 * 2 ** 20, 'after a death too');
  const { pid, serverPid } = await holderOf(node);
  t.equal((await node.thin(['daemon', 'stop'])).code, 0);
  t.notOk(isAlive(Number(serverPid)));
  await until('the holder is gone', () => !isAlive(pid));
  t.equal((await node.thin(['daemon', 'restart'])).code, 0, 'restart starts what does not run');
});

t.test('an upgrade: the command that restarts is the program that runs', async (t) => {
  const node = startNode(t);
  const { version } = await node.status();
  const holder = await holderOf(node);
  const newer = copyProgram(node.folder, '9.8.7');
  const restarted = await runCommand(process.execPath, [newer, 'daemon', 'restart'], {
    env: node.env,
    mayFail: true,
  });
  t.equal(restarted.code, 0, restarted.stderr);
  t.equal((await node.status()).version, '9.8.7');
  t.match(await holderOf(node), { pid: holder.pid, program: newer }, 'the holder stays');
  t.match(await nextServer(node), { program: newer });
  t.equal((await node.thin(['daemon', 'restart'])).code, 0);
  t.equal((await node.status()).version, version, 'and back');

  writeFileSync(serverOf(newer), 'throw new Error("not in this version");');
  const broken = await runCommand(process.execPath, [newer, 'daemon', 'restart'], {
    env: node.env,
    mayFail: true,
  });
  t.equal(broken.code, 5);
  t.match(broken.stderr, /the one before goes on/);
  t.equal((await node.status()).version, version, 'an upgrade that does not start is taken back');
});

t.test('a crash loop is told, and ends by itself', async (t) => {
  const node = startNode(t);
  const program = copyProgram(node.folder, '1.0.0');
  const serve = serverOf(program);
  const works = readFileSync(serve);
  await runCommand(process.execPath, [program, 'daemon', 'start'], { env: node.env });
  const { pid, serverPid } = await holderOf(node);
  writeFileSync(serve, 'process.exit(77);');
  process.kill(Number(serverPid), 'SIGKILL');
  const loop = /^the server keeps dying and is tried again now and then, in \d/;
  let told = '';
  // in one answer: between two of them the next attempt may have begun
  await until('a crash loop is told', async () => {
    told = (await node.thin(['daemon', 'status'])).stdout;
    return loop.test(told);
  });
  t.match(told, /the last: server \d+ ended with exit code 77/);
  writeFileSync(serve, works);
  await until('it serves', async () => (await holderOf(node)).phase === 'serving');
  t.equal((await holderOf(node)).pid, pid);
  t.equal((await node.status()).version, '1.0.0');
});

t.test('twenty commands at once start one daemon', async (t) => {
  const node = startNode(t);
  const statuses = await Promise.all(Array.from({ length: 20 }, () => node.status()));
  t.equal(new Set(statuses.map(({ pid }) => pid)).size, 1);
  const { pid, serverPid } = await holderOf(node);
  t.equal(serverPid, statuses[0]?.pid);
  await until('the losers are gone', async () => {
    const { stdout } = await runCommand('ps', ['-eo', 'pid=,args=']);
    const ours = stdout.split('\n').filter((line) => line.includes(`--root ${node.root}`));
    const pids = ours.map((line) => Number.parseInt(line, 10));
    return pids.length === 2 && pids.includes(pid) && pids.includes(Number(serverPid));
  });
});

t.test('each root has its own', async (t) => {
  const [one, other] = [startNode(t), startNode(t)];
  await Promise.all([one.status(), other.status()]);
  const before = await holderOf(other);
  await nextServer(one);
  await one.thin(['daemon', 'stop']);
  t.same(await holderOf(other), before);
});

t.test('a start that fails says why, and leaves nothing', async (t) => {
  const node = startNode(t);
  const env = { THINFS_CACHE_SIZE: 'plenty' };
  for (const words of [
    ['daemon', 'run'],
    ['daemon', 'start'],
  ]) {
    const { code, stderr } = await node.thin(words, { env });
    t.equal(code, 2, stderr);
    t.match(stderr, /^error: .*Cannot use size "plenty"/m);
    t.notOk(await isRunning(node));
  }
});

t.test('in the foreground, for a service manager', async (t) => {
  const node = startNode(t);
  const notified = await notifySocket(t, node.folder);
  const first = startThin(t, node, ['daemon', 'run', '--cache-size', '1G'], {
    NOTIFY_SOCKET: notified.path,
  });
  t.equal(await notified.message, 'READY=1');
  t.match(await holderOf(node), { pid: first.pid, phase: 'serving' });
  t.equal((await node.thin(['daemon', 'run'])).code, 8, 'one to a root');

  const second = startThin(t, node, ['daemon', 'run', '--wait']);
  await until('the second waits', () => second.errors().includes('waiting for its end'));
  t.match(await holderOf(node), { pid: first.pid }, 'and changes nothing');
  second.kill('SIGTERM');
  t.same(await second.ended, { code: 0, signal: null });
  t.same(await first.ended, { code: 0, signal: null }, 'whichever is told to end ends all');
  t.notOk(await isRunning(node));

  const third = startThin(t, node, ['daemon', 'run', '--wait']);
  await until('it serves', () => isRunning(node));
  const { serverPid } = await holderOf(node);
  third.kill('SIGINT');
  t.same(await third.ended, { code: 0, signal: null });
  t.notOk(isAlive(Number(serverPid)), 'the server has ended before');
});

t.test('restarts with nothing mounted; cleanup, and what it leaves', async (t) => {
  const node = startNode(t);
  const rootfs = join(node.folder, 'rootfs');
  makeRootfs(rootfs, { count: 1, bytes: 5000 });
  const store = `dir:${join(node.folder, 'store')}`;
  const cache = { THINFS_CACHE_HOME: join(node.folder, 'cache') };
  const words = ['-q', `dir:${rootfs}`, '--name', 'small:1', '--to', store];
  await runCommand(process.execPath, [thinifyProgram, ...words], { env: cache });
  const secret = join(node.folder, 'secret');
  writeFileSync(secret, 'what the nodes of this site know each other by');
  const site = ['--pop', `redis://127.0.0.1:${await freePort()}`, '--pop-secret', secret];
  t.equal((await node.thin(['daemon', 'start', ...site])).code, 0);
  for (const time of ['at first', 'after a restart', 'after another']) {
    const command = ['--store', store, 'small:1', 'sh', '-c', ':'];
    const ran = await node.thin(['run', '--rm', '-q', ...command]);
    t.equal(ran.code, 0, `${time}: ${ran.stderr}`);
    if (time !== 'after another') t.equal((await node.thin(['daemon', 'restart'])).code, 0);
  }
  t.ok(existsSync(join(node.root, 'pop')), 'what it has for its site');
  const { pid } = await holderOf(node);
  mkdirSync(join(node.root, 'not-ours'));
  t.equal((await node.thin(['daemon', 'cleanup', '--purge'])).code, 0);
  t.notOk(await isRunning(node));
  await until('the holder is gone', () => !isAlive(pid));
  const { stdout } = await runCommand('ls', ['-A', node.root]);
  t.equal(stdout, 'not-ours\n');
});

/** What systemd gives a service of Type=notify; a datagram socket, which Node.js does not have. */
async function notifySocket(t: Test, folder: string) {
  const path = join(folder, 'notify.sock');
  const program = `
import socket, sys
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(sys.argv[1])
receiver.settimeout(60)
print(receiver.recv(4096).decode(), flush=True)
`;
  const child = spawn('python3', ['-c', program, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => child.kill());
  const message = new Promise<string>((resolve) => {
    child.stdout.setEncoding('utf8').once('data', (text: string) => resolve(text.trim()));
  });
  await until('it is there', () => existsSync(path));
  return { path, message };
}
