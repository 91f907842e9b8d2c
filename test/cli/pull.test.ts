import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { startRegistry } from '../support/docker-registry.js';
import { startDownloadProxy } from '../support/download-proxy.js';
import { pushToRegistry, testImage } from '../support/images.js';
import { runCommand } from '../support/run-command.js';
import { startNode, startThin, thinifyProgram, until } from './test-node.js';

t.jobs = 3; // one of them waits most of the time
const registry = await startRegistry(t);
const nginx = await testImage('nginx');
const base = await testImage('base');
await pushToRegistry(await testImage('busybox'), `${registry.host}/busybox:1`);
await pushToRegistry(nginx, `${registry.host}/nginx:1`);
await pushToRegistry(base, `${registry.host}/base:1`);

const sizeOf = ({ layers }: typeof nginx) =>
  layers.reduce((sum, { descriptor }) => sum + descriptor.size, 0);

t.test('what people see, and scripts', async (t) => {
  const proxy = await startDownloadProxy(t, registry.host);
  const node = startNode(t);
  const image = `${proxy.host}/nginx:1`;
  const timeline = join(node.folder, 'pull.svg');
  const first = await node.thin(['pull', '--timeline', timeline, image]);
  t.equal(first.code, 0, first.stderr);
  for (const { descriptor } of nginx.layers) {
    t.match(first.stderr, new RegExp(`${descriptor.digest.slice(7, 19)}: done`));
  }
  t.match(first.stderr, /nginx:1: 3 layers; .* downloaded at .*\/s; .* written; .* waiting for/);
  t.match(readFileSync(timeline, 'utf8'), /<svg .*network: download.*<\/svg>/s);
  const again = await node.thin(['pull', image]);
  t.same([again.code, again.stderr], [0, `${image}: is here\n`]);

  const otherName = `${registry.host}/nginx:1`;
  t.match(await node.thin(['pull', otherName]), { stderr: `${otherName}: is here\n` });

  const before = proxy.bytesDown();
  const { code, stdout } = await node.thin(['pull', '--json', `${proxy.host}/base:1`]);
  t.equal(code, 0);
  const events: { event: string }[] = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  const here = { event: 'pulled', layers: 1, layersHere: 1, downloadedBytes: 0, writtenBytes: 0 };
  t.match(events.at(-1), here, 'its layer came with the other image');
  t.ok(proxy.bytesDown() - before < 100_000, 'but for manifest and config');

  const wrong = await node.thin(['pull', '--pull-mode', 'fast', image]);
  t.match(wrong, { code: 2, stderr: /wanted auto, parallel, pipelined, sequential, docker/ });
  const idle = await node.thin(['pull', '--pull', 'never', image]);
  t.match(
    idle,
    { code: 2, stderr: /unknown option '--pull'\n\(see thin pull --help\)/ },
    'it always asks',
  );
  proxy.stopAt = 0;
  const run = await node.thin(['run', '--rm', '-q', image, '-v']);
  t.match(run, { code: 0, stderr: /nginx version/ }, 'and needs no registry');
});

t.test('what keeps pulls from beginning is over when it is gone', async (t) => {
  const node = startNode(t);
  const image = `${registry.host}/busybox:1`;
  await node.status(); // a daemon runs
  const obstacle = join(node.root, 'layers');
  writeFileSync(obstacle, '');
  t.match(await node.thin(['pull', '-q', image]), { stderr: /^error: Cannot prepare a pull: / });
  rmSync(obstacle);
  t.match(await node.thin(['pull', '-q', image]), { code: 0, stderr: '' });
});

t.test('every mode gives a node the same image', async (t) => {
  const node = startNode(t);
  const image = `${registry.host}/busybox:1`;
  let first: string | undefined;
  for (const mode of ['docker', 'sequential', 'pipelined', 'parallel', 'auto']) {
    const pulled = await node.thin(['pull', '-q', '--pull-mode', mode, image]);
    t.match(pulled, { code: 0, stderr: '' }, mode);
    const { stdout } = await node.thin(['ls', '-lR', image, '/']);
    t.ok(stdout.split('\n').length > 20, mode);
    first ??= stdout;
    t.equal(stdout, first, mode);
    t.match(await node.thin(['run', '--rm', '-q', image, 'echo', mode]), { stdout: `${mode}\n` });
    // What a pull has just brought is let go of a little later.
    await until('nothing of it is left', async () => {
      const { code } = await node.thin(['gc', '--all']);
      const { images, cache } = await node.status();
      return code === 0 && images.length + cache.files === 0;
    });
  }
});

t.test('connections that are cut again and again', { buffered: true }, async (t) => {
  const proxy = await startDownloadProxy(t, registry.host);
  proxy.cutAfter = 3_000_000;
  const node = startNode(t);
  const pulled = await node.thin(['pull', '-q', `${proxy.host}/nginx:1`]);
  t.equal(pulled.code, 0, pulled.stderr);
  t.ok(proxy.bytesDown() < 1.3 * sizeOf(nginx), `${proxy.bytesDown()} bytes: each came once`);
});

t.test(
  'a registry that sends nothing for longer than it is waited for',
  { buffered: true },
  async (t) => {
    const proxy = await startDownloadProxy(t, registry.host);
    const size = sizeOf(nginx);
    proxy.stopAt = size / 2;
    const node = startNode(t);
    const pull = startThin(t, node, ['pull', '-q', `${proxy.host}/nginx:1`]);
    await until('half of it has come', () => proxy.bytesDown() >= proxy.stopAt);
    const made = proxy.connections();
    await until('it is asked anew', () => proxy.connections() > made);
    proxy.stopAt = Number.POSITIVE_INFINITY;
    t.equal((await pull.ended).code, 0, pull.errors());
    t.ok(proxy.bytesDown() < 1.3 * size, `${proxy.bytesDown()} bytes: what had come was not lost`);
  },
);

t.test(
  'a daemon that is killed in the middle goes on where it was, and is given up the third time',
  { buffered: true },
  async (t) => {
    const proxy = await startDownloadProxy(t, registry.host);
    const node = startNode(t);
    const image = `${proxy.host}/nginx:1`;
    const size = sizeOf(nginx);
    proxy.stopAt = 0;
    const pull = startThin(t, node, ['pull', image]);
    for (const part of [0.1, 0.5, 0.9]) {
      proxy.stopAt = part * size;
      await until(`${part} of it has come`, () => proxy.bytesDown() >= proxy.stopAt);
      const { pid } = await node.status();
      process.kill(pid, 'SIGKILL');
    }
    t.same(await pull.ended, { code: 5, signal: null });
    t.equal(pull.errors().match(/the daemon is gone: asking the next one/g)?.length, 2);
    proxy.stopAt = Number.POSITIVE_INFINITY;
    t.match(await node.thin(['pull', '-q', image]), { code: 0, stderr: '' });
    t.ok(proxy.bytesDown() < 1.6 * size, `${proxy.bytesDown() / size} times its size came`);
    const mounted = join(node.folder, 'mounted');
    t.equal((await node.thin(['mount', '--read-only', image, mounted])).code, 0);
    const tree = await runCommand('sh', [
      '-c',
      `cd ${mounted} && find . -type f | xargs cat | wc -c`,
    ]);
    t.ok(Number(tree.stdout) > size, 'all of it can be read');
    t.equal((await node.thin(['check'])).code, 0);
    t.same(readdirSync(join(node.root, 'partial-layers')), []);
  },
);

t.test('the thin form is published from what a pull has left', async (t) => {
  const torture = await testImage('torture');
  await pushToRegistry(torture, `${registry.host}/torture:1`);
  const proxy = await startDownloadProxy(t, registry.host);
  const node = startNode(t);
  const image = `${proxy.host}/torture:1`;
  const thinify = (cache: string, ...words: string[]) =>
    runCommand(process.execPath, [thinifyProgram, '-q', ...words], {
      env: { ...node.env, THINFS_CACHE_HOME: join(node.folder, cache) },
      mayFail: true,
    });
  const early = await thinify('early', '--from-node', image);
  t.match(early, { code: 3, stderr: /was not pulled to .*wanted thin pull first/ });
  const fast = join(node.folder, 'fast');
  t.equal((await node.thin(['daemon', 'start', '--tier', `fast=${fast}`])).code, 0);
  t.equal((await node.thin(['pull', '-q', image])).code, 0);
  const before = proxy.bytesDown();
  const [left, again] = ['left', 'again'].map((name) => join(node.folder, name));
  const fromNode = ['--from-node', '--tier', `fast=${fast}`, image];
  const made = await thinify('left', ...fromNode, '--to', `dir:${left}`);
  t.equal(made.code, 0, made.stderr);
  t.ok(proxy.bytesDown() - before < 20_000, 'manifest and config came, and no layer');
  t.equal((await thinify('again', image, '--to', `dir:${again}`)).code, 0);
  const blobsIn = (folder = '') => readdirSync(folder, { recursive: true }).sort();
  t.same(blobsIn(left), blobsIn(again), 'it is what the layers themselves give');

  // Which tier has which file is up to how fast the layers came.
  const paths = [join(node.root, 'tiers/local'), fast].flatMap((tier) =>
    readdirSync(tier, { recursive: true, encoding: 'utf8' }).map((path) => join(tier, path)),
  );
  const [path = ''] = paths.filter((path) => /[0-9a-f]{64}$/.test(path));
  const bytes = readFileSync(path);
  bytes.writeUInt8(bytes.readUInt8(0) ^ 1, 0);
  writeFileSync(path, bytes);
  const wrong = await thinify('wrong', ...fromNode, '--to', `dir:${left}-wrong`);
  t.match(wrong, { code: 6, stderr: /is wrong on its disk/ });
});
