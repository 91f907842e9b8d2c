import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { z } from 'zod';
import { exitCodes } from '../../src/cli/exit-code.js';
import { parseThinDescriptor, type ThinDescriptor } from '../../src/thin/descriptor.js';
import { parseHotIndex } from '../../src/thin/hot-index.js';
import { hotArtifactType } from '../../src/thin/hot-manifest.js';
import { mountsBelow, startNode, type TestNode, thinifyProgram, until } from '../cli/test-node.js';
import { startRegistry } from '../support/docker-registry.js';
import { pushToRegistry, testImage } from '../support/images.js';
import { runCommand } from '../support/run-command.js';
import { startTcpProxy } from '../support/tcp-proxy.js';

t.jobs = 3; // each has nodes of its own
const registry = await startRegistry(t);
/** Paths that were asked for, in their order. */
const asked: string[] = [];
/** Blobs that do not come before another one is asked for. */
const held = { blobs: new Set<string>(), until: '', inVain: false };
const host = await startTcpProxy(t, registry.host, (client, upstream) => {
  let sent: Promise<void> = Promise.resolve();
  client.on('data', (bytes: Buffer) => {
    const paths = [...bytes.toString('latin1').matchAll(/^GET (\S+) HTTP/gm)];
    for (const [, path = ''] of paths) asked.push(path);
    const isHeld = paths.some(([, path = '']) => held.blobs.has(path.split('/').at(-1) ?? ''));
    sent = sent.then(async () => {
      if (isHeld) await othersAsked();
      upstream.write(bytes);
    });
  });
  client.on('end', () => void sent.then(() => upstream.end()));
  client.on('error', () => upstream.destroy());
  upstream.pipe(client);
});

async function othersAsked(): Promise<void> {
  const isAsked = () => asked.some((path) => path.endsWith(held.until));
  await until('the other is asked for', isAsked).catch(() => {
    held.inVain = true;
  });
}

const reference = `${host}/base:1`;
const stores = t.testdir({});
const storeFolder = join(stores, 'store');
const store = `dir:${storeFolder}`;
/** What is fetched is what is asked for. */
const asAsked = { THINFS_COMPLETE: 'never' };
await pushToRegistry(await testImage('base'), reference);
await runCommand(process.execPath, [thinifyProgram, reference]);
await runCommand(process.execPath, [thinifyProgram, reference, '--to', store]);
/** The same, in which no other test publishes: two trainers may make one and the same pack. */
const spoiltFolder = join(stores, 'spoilt');
await cp(storeFolder, spoiltFolder, { recursive: true });
const alone = { buffered: false };
/** Needs a module that no static guess knows of. */
const words = ['perl', '-e', 'use POSIX; print POSIX::floor(1.5)'];

const publishedSchema = z.object({
  commands: z.array(z.object({ args: z.array(z.string()), runs: z.number() })),
  packBytes: z.number(),
  newBytes: z.number(),
});

async function run(t: Test, node: TestNode, command = words, flags: string[] = []): Promise<void> {
  const args = ['run', '--rm', '-q', ...flags, reference, ...command];
  const { code, stderr } = await node.thin(args);
  t.equal(code, 0, stderr);
}

async function recorded(node: TestNode, commands: number): Promise<void> {
  await until(`${commands} commands are recorded`, async () => {
    const { stdout } = await node.thin(['hot', 'show', '--json', reference]);
    return z.array(z.object({})).parse(JSON.parse(stdout)).length >= commands;
  });
}

async function publish(node: TestNode, flags: string[] = []) {
  const { code, stdout, stderr } = await node.thin([
    'hot',
    'publish',
    '--json',
    ...flags,
    reference,
  ]);
  if (code !== 0) throw new Error(stderr);
  return publishedSchema.parse(JSON.parse(stdout));
}

async function descriptorOf(node: TestNode): Promise<ThinDescriptor> {
  const hex = (await node.status()).images[0]?.manifest.replace('sha256:', '') ?? '';
  return parseThinDescriptor(await readFile(join(node.root, 'images', hex, 'descriptor.json')));
}

const listSchema = z.object({
  manifests: z.array(z.object({ artifactType: z.string(), data: z.string().default('') })),
});
const layersSchema = z.object({ layers: z.array(z.object({ digest: z.string() })) });

/** Digest of the last hot pack that the list of the tag's thin manifests carries. */
async function listedPack(): Promise<string> {
  const headers = { accept: 'application/vnd.oci.image.index.v1+json' };
  const answer = await fetch(`http://${registry.host}/v2/base/manifests/1-thin`, { headers });
  const { manifests } = listSchema.parse(await answer.json());
  const hot = manifests.find(({ artifactType }) => artifactType === hotArtifactType);
  const json: unknown = JSON.parse(Buffer.from(hot?.data ?? '', 'base64').toString());
  return layersSchema.parse(json).layers.at(-1)?.digest ?? '';
}

/** Digests of the packs that were published of an image, as a node knows them. */
async function hotPacks(node: TestNode): Promise<string[]> {
  const [image] = (await node.status()).images;
  const hex = image?.manifest.replace('sha256:', '');
  const index = await readFile(join(node.root, 'hot', `${hex}.published.json`));
  return parseHotIndex(index).commands.map(({ pack }) => pack.digest);
}

async function fetched(node: TestNode): Promise<{ requests: number; bytes: number }> {
  const [image] = (await node.status()).images;
  return image?.fetched ?? { requests: 0, bytes: 0 };
}

// By itself: it looks at all that is asked for.
t.test('what one node has learned, another one is brought in a few requests', alone, async (t) => {
  const trainer = startNode(t, { ...asAsked, THINFS_PREFETCH: 'none' });
  t.equal((await trainer.thin(['hot', 'publish', reference])).code, 3, 'nothing is recorded');
  await run(t, trainer);
  await recorded(trainer, 1);
  const untrained = await fetched(trainer);
  const first = await publish(trainer);
  t.match(first.commands, [{ args: words, runs: 1 }]);
  t.ok(
    first.packBytes > 100_000 && first.newBytes < first.packBytes + 100_000,
    `${first.newBytes}`,
  );
  const again = await publish(trainer);
  t.same(again.commands, first.commands, 'no run is published twice');
  t.ok(again.newBytes < 100_000, 'the pack is there');

  const node = startNode(t, asAsked);
  const { metadata, chunkMap } = await descriptorOf(trainer);
  held.blobs = new Set([metadata.digest, chunkMap.digest]);
  held.until = await listedPack();
  asked.length = 0;
  await run(t, node);
  held.blobs.clear();
  t.notOk(held.inVain, 'the pack is asked for before the image is here');
  const trained = await fetched(node);
  const [pack = ''] = await hotPacks(node);
  t.equal(pack, held.until);
  // Before, between or behind those of the image itself.
  const fromPack = asked.filter((path) => path.endsWith(pack));
  t.ok(fromPack.length > 0, 'the pack was asked for');
  t.ok(fromPack.length >= trained.requests / 2, `${fromPack.length} of ${trained.requests}`);
  t.ok(
    trained.requests <= untrained.requests / 2,
    `${trained.requests} of ${untrained.requests} requests`,
  );
  t.ok(trained.bytes <= untrained.bytes, `${trained.bytes} of ${untrained.bytes} bytes`);
  t.ok(trained.bytes >= 0.8 * first.packBytes, 'about all of it was');

  // Another command's runs go beside it.
  await run(t, node, ['bash', '-c', 'type cd']);
  await recorded(node, 1);
  const more = await publish(node);
  t.same(more.commands.map(({ args }) => args[0]).sort(), ['bash', 'perl']);
  const other = startNode(t, asAsked);
  await run(t, other);
  t.ok((await fetched(other)).requests <= untrained.requests / 2);

  // Through a file, to a store of another kind.
  const { stdout: exported } = await trainer.thin(['hot', 'export', reference]);
  const importer = startNode(t, asAsked);
  t.equal((await importer.thin(['hot', 'import'], { input: exported })).code, 0);
  await publish(importer, ['--store', store]);
  const elsewhere = startNode(t, asAsked);
  await run(t, elsewhere, words, ['--store', store]);
  t.ok((await fetched(elsewhere)).requests <= untrained.requests / 2);
});

t.test(
  'a hot pack that is gone, or holds something else, costs time and nothing else',
  async (t) => {
    const trainer = startNode(t, { ...asAsked, THINFS_PREFETCH: 'none' });
    const place = `dir:${spoiltFolder}`;
    await run(t, trainer, words, ['--store', place]);
    await recorded(trainer, 1);
    const before = await runCommand('find', [join(spoiltFolder, 'blobs'), '-type', 'f']);
    await publish(trainer, ['--store', place]);
    const after = await runCommand('find', [
      join(spoiltFolder, 'blobs'),
      '-type',
      'f',
      '-size',
      '+200k',
    ]);
    const fresh = after.stdout.split('\n').filter((path) => path && !before.stdout.includes(path));
    t.equal(fresh.length, 1, 'one blob is the pack');
    const [pack = ''] = fresh;
    await runCommand('sh', ['-c', 'printf garbage | dd of="$0" bs=1 seek=1000 conv=notrunc', pack]);
    const lied = startNode(t, asAsked);
    await run(t, lied, words, ['--store', place]);
    t.match((await lied.thin(['check'])).code, 0, 'nothing wrong was kept');
    // An index that nobody can read is replaced.
    const [index = ''] = (
      await runCommand('grep', ['-rl', '"lengths"', spoiltFolder])
    ).stdout.split('\n');
    await writeFile(index, 'x'.repeat((await readFile(index)).length));
    await publish(trainer, ['--store', place]);
    await rm(pack);
    const lost = startNode(t, asAsked);
    await run(t, lost, words, ['--store', place]);
  },
);

t.test('the build server runs the image once, and publishes what that read', async (t) => {
  const place = `dir:${t.testdir({})}`;
  const refused = [thinifyProgram, reference, '--to', place, 'perl'];
  t.equal((await runCommand(process.execPath, refused, { mayFail: true })).code, 2);
  const record = [thinifyProgram, reference, '--to', place, '--record', '--', ...words];
  const made = await runCommand(process.execPath, record);
  t.match(made.stdout, /^\S+base:1 linux\/\w+: \d+ files/, 'nothing else is on standard output');
  t.match(made.stderr, /1 command, .* of hot packs/);
  const node = startNode(t, asAsked);
  await run(t, node, words, ['--store', place]);
  const { requests } = await fetched(node);
  t.ok(requests > 0 && requests <= 25, `${requests} requests`);

  // From a node that runs it anyway.
  await run(t, node, ['perl', '-v'], ['--store', place]);
  await recorded(node, 2);
  const hot = [thinifyProgram, reference, '--to', place, '--hot', 'auto', '--root', node.root];
  t.match((await runCommand(process.execPath, hot)).stderr, /: 2 commands, /);
});

t.test('a recording that is interrupted ends with its container', async (t) => {
  const place = `dir:${t.testdir({})}`;
  const folder = await mkdtemp(join(tmpdir(), 'thinfs-record-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const script = 'trap "sleep 1; echo ended; exit 0" TERM; echo begun; while :; do sleep 0.1; done';
  const record = [reference, '--to', place, '--record', '--', 'sh', '-c', script];
  const child = spawn(process.execPath, [thinifyProgram, ...record], {
    env: { ...process.env, TMPDIR: folder },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const code = once(child, 'close'); // by then it has been heard out
  await until('the container runs', () => said.includes('begun'));
  child.kill('SIGTERM');
  t.same(await code, [exitCodes.canceled, null], said);
  t.match(said, /ended\n.*interrupted/s, 'it was waited for');
  t.same(await readdir(folder), [], 'nothing is left of the node');
  t.same(mountsBelow(folder), []);
});
