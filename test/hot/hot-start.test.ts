import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { z } from 'zod';
import { startNode, startThin, type TestNode, thinifyProgram, until } from '../cli/test-node.js';
import { startRegistry } from '../support/docker-registry.js';
import { pushToRegistry, testImage } from '../support/images.js';
import { runCommand } from '../support/run-command.js';

t.jobs = 3; // each has a node of its own
const registry = await startRegistry(t);
const reference = `${registry.host}/base:1`;
await pushToRegistry(await testImage('base'), reference);
await runCommand(process.execPath, [thinifyProgram, reference]);
/** Needs a module that no static guess knows of. */
const words = ['perl', '-e', 'use POSIX; print POSIX::floor(1.5)'];

const broughtSchema = z.object({
  msg: z.string(),
  frames: z.number().optional(),
  bytes: z.number().optional(),
});
const statusSchema = z.object({
  images: z.array(z.object({ fetched: z.object({ bytes: z.number() }) })),
});
const listsSchema = z.array(
  z.object({
    args: z.array(z.string()),
    runs: z.number(),
    ranges: z.array(z.object({ path: z.string() })),
  }),
);

async function run(t: Test, node: TestNode): Promise<void> {
  const { code, stdout, stderr } = await node.thin(['run', '--rm', '-q', reference, ...words]);
  t.same([code, stdout], [0, '1'], stderr);
}

interface Brought {
  readonly frames: number;
  readonly bytes: number;
}

/** What was brought ahead of each start, as the log tells once it has ended. */
async function brought(node: TestNode, starts: number): Promise<Brought[]> {
  let all: Brought[] = [];
  await until(`${starts} starts are logged`, () => {
    const lines = readFileSync(join(node.root, 'daemon.log'), 'utf8').split('\n').filter(Boolean);
    const told = lines.map((line) => broughtSchema.safeParse(JSON.parse(line)).data);
    all = told.flatMap((line) => {
      if (line?.msg !== 'brought ahead of a container') return [];
      return [{ frames: line.frames ?? 0, bytes: line.bytes ?? 0 }];
    });
    return all.length >= starts;
  });
  return all;
}

/** Bytes of frames that were fetched for the image. */
async function fetchedBytes(node: TestNode): Promise<number> {
  const { stdout } = await node.thin(['status', '--json']);
  return statusSchema.parse(JSON.parse(stdout)).images[0]?.fetched.bytes ?? 0;
}

async function lists(node: TestNode): Promise<z.infer<typeof listsSchema>> {
  const { stdout } = await node.thin(['hot', 'show', '--json', reference]);
  return listsSchema.parse(JSON.parse(stdout));
}

/** The same, but it waits before it loads the module until something is written to a FIFO. */
const gate = 'BEGIN { $| = 1; print "at the gate\\n"; open F, "<", "/control/gate"; <F> }';
const gatedWords = ['perl', '-e', `${gate} use POSIX; print POSIX::floor(1.5)`];

/** Bytes that were fetched by when all was brought ahead, the program not yet through, and at its end. */
async function gatedRun(t: Test, node: TestNode, starts: number, control: string) {
  const gate = openSync(join(control, 'gate'), 'r+');
  try {
    const flags = ['--rm', '-q', '-v', `${control}:/control`, reference];
    const command = startThin(t, node, ['run', ...flags, ...gatedWords]);
    await command.printed('at the gate');
    await brought(node, starts);
    const before = await fetchedBytes(node);
    writeSync(gate, '\n');
    t.same(await command.ended, { code: 0, signal: null }, command.errors());
    t.equal(command.output(), 'at the gate\n1');
    return { before, after: await fetchedBytes(node) };
  } finally {
    closeSync(gate);
  }
}

t.test('the first start is guessed and recorded; the next ones bring what it read', async (t) => {
  const node = startNode(t, { THINFS_LOG_LEVEL: 'debug', THINFS_COMPLETE: 'never' });
  const control = t.testdir({});
  await runCommand('mkfifo', [join(control, 'gate')]);
  const none = await node.thin(['hot', 'show', reference]);
  t.match(none.stdout, /no start of .* was recorded here yet/);
  const first = await gatedRun(t, node, 1, control);
  const [guessed = { frames: 0, bytes: 0 }] = await brought(node, 1);
  t.ok(guessed.frames > 0, `${guessed.frames} frames were guessed`);
  t.ok(first.before > 0 && first.after > first.before, 'what was not is fetched when it is read');
  await until('the start is recorded', async () => (await lists(node)).length > 0);
  const [list] = await lists(node);
  t.same(list?.args, gatedWords);
  const paths = list?.ranges.map(({ path }) => path) ?? [];
  for (const name of ['/POSIX.pm', '/POSIX.so', '/libc.so.6', '/perl']) {
    t.ok(
      paths.some((path) => path.endsWith(name)),
      `${name} was read`,
    );
  }
  const text = await node.thin(['hot', 'show', reference]);
  t.match(text.stdout, /^perl -e BEGIN.*\n {2}\S+ \S+, learned from one start:\n/);
  await node.thin(['gc', '--all']);
  const next = await gatedRun(t, node, 2, control);
  t.ok(next.before > 0, 'counted anew after gc');
  t.equal(next.after, next.before, 'all that it reads was brought ahead');
});

t.test('nothing is brought where nobody wants it; starts are recorded all the same', async (t) => {
  const node = startNode(t, { THINFS_LOG_LEVEL: 'debug', THINFS_PREFETCH: 'none' });
  await run(t, node);
  t.same(await brought(node, 1), [{ frames: 0, bytes: 0 }]);
  await until('the start is recorded', async () => (await lists(node)).length > 0);
});

t.test('a portable mount is recorded too', async (t) => {
  const node = startNode(t, { THINFS_PREFETCH: 'none', THINFS_MOUNT: 'portable' });
  await run(t, node);
  await until('the start is recorded', async () => (await lists(node)).length > 0);
  const [list] = await lists(node);
  t.ok(list?.ranges.some(({ path }) => path.endsWith('/POSIX.pm')));
});

t.test('an older version spares what it shares with a new one, and status says so', async (t) => {
  const updated = `${registry.host}/base:2`;
  await pushToRegistry(await testImage('base-updated'), updated);
  await runCommand(process.execPath, [thinifyProgram, updated]);
  const node = startNode(t);
  await run(t, node);
  const started = await node.thin(['run', '--rm', '-q', updated, ...words]);
  t.same([started.code, started.stdout], [0, '1'], started.stderr);
  const imageOf = async () =>
    (await node.status()).images.find(({ references }) => references.includes(updated));
  await until('its start is over', async () => (await imageOf())?.firstStart !== undefined);
  const image = await imageOf();
  const { neededBytes = 0, hereBytes = 0 } = image?.firstStart ?? {};
  t.ok(hereBytes > 0 && hereBytes < neededBytes, `${hereBytes} of ${neededBytes}`);
  t.match((await node.thin(['status'])).stdout, /its first start needed were here/);
});
