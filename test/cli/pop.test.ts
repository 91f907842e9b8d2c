import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { decodeHotList } from '../../src/hot/hot-list.js';
import type { PopReport } from '../../src/pop/point-of-presence.js';
import { RedisServer } from '../pop/redis-server.js';
import { startRegistry } from '../support/docker-registry.js';
import { pushToRegistry, testImage } from '../support/images.js';
import { runCommand } from '../support/run-command.js';
import { holderOf } from './holder-status.js';
import { startNode, startThin, type TestNode, thinifyProgram, until } from './test-node.js';

/** Sites that are started for one whose Redis answers in time. */
const triesMax = 3;
t.setTimeout(400_000); // one conversion, and then some
const registry = await startRegistry(t);
/** Lets in who gives no name, and this user. */
const user = ['--user', 'somebody', 'on', '>hunter2', '~*', '&*', '+@all'];
const redis = await RedisServer.start(t, user);
const reference = `${registry.host}/python:1`;
await pushToRegistry(await testImage('python'), reference);
await runCommand(process.execPath, [thinifyProgram, reference]);

/** Reads many small files and a large one, and ends when it is let go. */
const script = `
import json, http.client, os, time
print(json.dumps([1]), flush=True)
while not os.path.exists('/control/go'): time.sleep(0.02)
`;
const control = t.testdir({});
const go = join(control, 'go');
const words = ['-v', `${control}:/control`, reference, 'python3', '-c', script];
const alone = startNode(t);
const secret = join(alone.folder, 'secret');
writeFileSync(secret, 'what the nodes know each other by');
const popEnv = {
  ...{ THINFS_POP: redis.url, THINFS_POP_SECRET: secret, THINFS_COMPLETE: 'never' },
  THINFS_LOG_LEVEL: 'debug',
};

async function runs(node: TestNode): Promise<string> {
  const { code, stdout, stderr } = await node.thin(['run', '--rm', ...words]);
  return code === 0 ? stdout : `exit ${code}: ${stderr}`;
}

async function report(node: TestNode): Promise<PopReport> {
  const { stdout, stderr } = await node.thin(['pop', 'status', '--json']);
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout);
}

/** The runs that are known of the program's start, each as JSON. */
async function starts(node: TestNode): Promise<string[]> {
  const { stdout } = await node.thin(['hot', 'export', reference]);
  const lists = stdout.split('\n').filter(Boolean);
  return lists
    .flatMap((line) => decodeHotList(Buffer.from(line)).runs)
    .map((run) => JSON.stringify(run));
}

function logOf(node: TestNode): string {
  return readFileSync(join(node.root, 'daemon.log'), 'utf8');
}

function ofOrigin({ counts }: PopReport): number {
  return counts.origin.frames + counts.alone.frames;
}

async function join1(members: number): Promise<TestNode> {
  const node = startNode(t, popEnv);
  await node.thin(['daemon', 'start']);
  await until(`a node sees ${members}`, async () => {
    const { members: seen } = await report(node);
    return seen.filter(({ alive }) => alive).length >= members;
  });
  return node;
}

/** Runs the program, which ends when all is here that it is expected to read. */
async function runsToTheFull(t: Test, first: TestNode): Promise<void> {
  rmSync(go, { force: true });
  const started = startThin(t, first, ['run', '--rm', ...words]);
  await started.printed('[1]');
  await until('all that is expected to be read is here', () => {
    return logOf(first).includes('brought ahead of a container');
  });
  writeFileSync(go, '');
  t.same(await started.ended, { code: 0, signal: null }, started.errors());
}

/** Whether Redis took longer than a read waits: what was fetched then is not for the site. */
async function wasAlone(node: TestNode): Promise<boolean> {
  const { counts } = await report(node);
  return counts.alone.frames > 0 || logOf(node).includes('going on without the PoP');
}

/** The first two nodes of a site: others where the machine was too busy for the first to share. */
async function startTwo(t: Test) {
  for (let tries = 1; ; tries++) {
    const first = await join1(1);
    await runsToTheFull(t, first);
    const fetched = ofOrigin(await report(first));
    const second = await join1(2);
    t.equal(await runs(second), '[1]\n');
    const hasShared = !(await wasAlone(first));
    if (hasShared || tries === triesMax) return { first, fetched, second, hasShared };
    t.comment('Redis was too slow for the first node');
    await Promise.all([first.stop(), second.stop()]);
    await redis.restart();
  }
}

t.test('what one node has fetched, the next gets from it', async (t) => {
  t.match((await alone.thin(['pop', 'status'])).stdout, /in no site/);
  const { first, fetched, second, hasShared } = await startTwo(t);
  t.ok(fetched > 0);
  // It knows what is read: what the first has brought ahead in vain is not wanted again.
  const seen = await report(second);
  const near = seen.counts.peers.frames;
  const needed = near + ofOrigin(seen);
  t.ok(near > 0, `${near} came from there`);
  const { origin, alone: lonely } = seen.counts;
  if (hasShared) {
    t.ok(needed <= 1.2 * fetched, `${needed} were needed, where the first had ${fetched} fetched`);
    t.ok(origin.frames <= 0.1 * (near + origin.frames), `${origin.frames} did not`);
  }
  // Who finds the others slow, as on a busy machine, goes on alone, and says so.
  const reasons = Object.values(seen.aloneFor).reduce((sum, each) => sum + each, 0);
  t.equal(lonely.frames > 0, reasons > 0);
  const [recorded, known] = [await starts(first), await starts(second)];
  t.equal(recorded.length, 1);
  t.ok(known.includes(`${recorded[0]}`), 'what a start reads, too');
  const { stdout } = await second.thin(['pop', 'status']);
  t.match(stdout, /Redis answers\nshared: \d+ frames, .*B\n\nNODE\n/);
  t.match(
    stdout,
    /NODE\n( {2}\S+ {2}\S+ {2}http:\S+ {2}alive, up .*, keeps .*B, fetches \d+, waits for \d+.*\n){2}/,
  );
  t.match(stdout, /% from the site\n.*\n {2}from other nodes +[1-9]\d* +\d+ % .*B +\d+ %\n/);
  t.match(stdout, /leases: \d+ held here, \d+ frames waited for\n/);
  await until('all that was fetched is kept by its home, and told', async () => {
    const { shared } = await report(second);
    return shared.frames >= 0.9 * fetched;
  });

  const both = await Promise.all([join1(3), join1(3)]);
  await redis.kill();
  t.same(await Promise.all(both.map(runs)), ['[1]\n', '[1]\n'], 'without Redis');
  await redis.restart();
  await until('they are one site again', async () => (await report(first)).agreed);
  const last = await join1(5);
  redis.pause();
  t.equal(await runs(last), '[1]\n', 'with a Redis that hangs');
  redis.resume();
});

t.test('an image that is pulled in full comes from the site, too', async (t) => {
  const image = `${registry.host}/unconverted:1`;
  await pushToRegistry(await testImage('busybox'), image);
  const first = await join1(1);
  t.equal((await first.thin(['pull', '-q', image])).code, 0);
  const [{ counts: before }, second] = [await report(first), await join1(2)];
  t.ok(before.origin.bytes + before.alone.bytes > 500_000, 'its layers, from the registry');
  t.equal((await second.thin(['pull', '-q', image])).code, 0);
  const { counts } = await report(second);
  t.ok(counts.peers.bytes > 500_000, `${counts.peers.bytes} bytes came from there`);
  t.equal((await second.thin(['check'])).code, 0);
});

t.test('a password in the address is shown to nobody', async (t) => {
  const node = startNode(t);
  const secretly = redis.url.replace('//', '//somebody:hunter2@');
  const flags = ['--pop', secretly, '--pop-secret', secret];
  t.equal((await node.thin(['daemon', 'start', ...flags])).code, 0);
  t.equal((await node.thin(['daemon', 'restart'])).code, 0);
  await until('it agrees, as a restart without the flag keeps the address', async () => {
    return (await report(node)).agreed;
  });
  const commands = ['pop status', 'pop status --json', 'daemon status', 'daemon status --json'];
  const shown = await Promise.all(commands.map((command) => node.thin(command.split(' '))));
  const { pid, serverPid } = await holderOf(node);
  const said = [
    ...shown.map(({ stdout, stderr }) => stdout + stderr),
    readFileSync(join(node.root, 'daemon.log'), 'utf8'),
    ...[pid, serverPid].map((one) => readFileSync(`/proc/${one}/cmdline`, 'utf8')),
  ];
  t.notMatch(said.join('\n'), /hunter2/);
});
