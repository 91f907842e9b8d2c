import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type Digest, digestHex } from '../../src/digest.js';
import { type HotCommand, parseHotIndex } from '../../src/thin/hot-index.js';
import { startNode, type TestNode, thinifyProgram, until } from '../cli/test-node.js';
import { startRegistry } from '../support/docker-registry.js';
import { pushToRegistry, testImage } from '../support/images.js';
import { runCommand } from '../support/run-command.js';

const { host } = await startRegistry(t);
const latest = `${host}/base:latest`;
const old = `${host}/base:old`;
const folder = join(t.testdir({}), 'store');
const store = `dir:${folder}`;
const words = ['perl', '-e', 'use POSIX; print POSIX::floor(1.5)'];

/** As it is brought ahead, and not completed afterwards. */
const asAsked = { THINFS_COMPLETE: 'never' };
const record = ['--record', '--', ...words];
const thinify = (...args: string[]) => runCommand(process.execPath, [thinifyProgram, ...args]);

// One tag that moves; the old version can be had by another one.
for (const reference of [latest, old]) await pushToRegistry(await testImage('base'), reference);
const first = await thinify(latest, '--to', store, ...record);
await thinify(old, '--to', store);
await pushToRegistry(await testImage('base-updated'), latest);
const second = await thinify(latest, '--to', store, ...record);

async function start(t: Test, node: TestNode, reference: string): Promise<void> {
  const args = ['run', '--rm', '-q', '--store', store, reference, ...words];
  const { code, stderr } = await node.thin(args);
  t.equal(code, 0, stderr);
}

const libraries = '/usr/lib/x86_64-linux-gnu';
/** Reads more than a start does, whatever of it is brought before it ends. */
const readAll = `cat /usr/bin/perl* ${libraries}/lib*; find ${libraries}/perl* -type f -exec cat {} +`;

/** A node on which the old version has run, with all that it has read on the disk and in the index. */
async function updatedNode(t: Test): Promise<TestNode> {
  const node = startNode(t, asAsked);
  await start(t, node, old);
  const script = `exec > /dev/null; ${readAll}`;
  const read = await node.thin(['run', '--rm', '-q', '--store', store, old, 'sh', '-c', script]);
  t.equal(read.code, 0, read.stderr);
  t.equal((await node.thin(['daemon', 'stop', '--force'])).code, 0);
  return node;
}

/** Compressed bytes that a start of the update fetched. */
async function update(t: Test, node: TestNode): Promise<number> {
  await start(t, node, latest);
  t.equal((await node.thin(['check'])).code, 0, 'nothing wrong was kept');
  const { images } = await node.status();
  return images.find(({ references }) => references.includes(latest))?.fetched.bytes ?? 0;
}

/** What was published of the update, as a node that has it knows. */
async function published(node: TestNode): Promise<HotCommand | undefined> {
  const { images } = await node.status();
  const image = images.find(({ references }) => references.includes(latest));
  const hex = image?.manifest.replace('sha256:', '');
  const bytes = await readFile(join(node.root, 'hot', `${hex}.published.json`));
  return parseHotIndex(bytes).commands[0];
}

t.test('an update fetches what is new, told from what is here', async (t) => {
  t.notMatch(first.stderr, /where the version before/);
  t.match(second.stderr, /of hot packs, .* where the version before has run/);
  const node = await updatedNode(t);
  const told = await update(t, node);
  const command = await published(node);
  const [size = 0, whole = 0] = [command?.delta?.pack.size, command?.pack.size];
  t.ok(size > 0 && told < whole / 4, `${told} of ${whole} bytes, delta pack of ${size}`);

  // Who publishes more of it tells it from the same version, although the tag has its own by now.
  const empty = startNode(t, asAsked);
  const more = ['run', '--rm', '-q', '--store', store, latest, 'perl', '-v'];
  t.equal((await empty.thin(more)).code, 0);
  await until('what it read is recorded', async () => {
    const { stdout } = await empty.thin(['hot', 'show', '--store', store, latest]);
    return stdout.includes('perl -v');
  });
  const again = await thinify(latest, '--to', store, '--hot', 'auto', '--root', empty.root);
  t.match(again.stderr, /where the version before has run/);

  const spoilt = await updatedNode(t);
  const path = join(folder, 'blobs', 'sha256', digestHex(command?.delta?.pack.digest as Digest));
  await writeFile(path, Buffer.alloc((await readFile(path)).length, 'x'));
  const fallen = await update(t, spoilt);
  t.ok(fallen > told, `${fallen} bytes, of them the wrong ones`);
});

t.test('an update under another tag is told from the version that is named', async (t) => {
  const [one, two] = ['app:1', 'app:2'].map((name) => `${host}/${name}`) as [string, string];
  await pushToRegistry(await testImage('base'), one);
  await pushToRegistry(await testImage('base-updated'), two);
  await thinify(one, ...record);
  const named = await thinify(two, '--base', one, ...record);
  t.match(named.stderr, /where the version before has run/);
});
