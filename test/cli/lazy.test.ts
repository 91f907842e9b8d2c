import { readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { startRegistry } from '../support/docker-registry.js';
import { type LayoutImage, pushToRegistry, testImage } from '../support/images.js';
import { runCommand } from '../support/run-command.js';
import { startNode, type TestNode, thinifyProgram } from './test-node.js';

t.setTimeout(400_000); // one conversion, and then some
const registry = await startRegistry(t);
const python = await testImage('python');
const reference = `${registry.host}/python:1`;
await pushToRegistry(python, reference);
const node = startNode(t);

async function fetchedBytes(node: TestNode): Promise<number> {
  const { images } = await node.status();
  return images.reduce((sum, { fetched }) => sum + fetched.bytes, 0);
}

function compressedBytes(image: LayoutImage): number {
  return image.layers.reduce((sum, { descriptor }) => sum + descriptor.size, 0);
}

/** Standard output of a command that must do well. */
async function done(t: Test, args: readonly string[], cwd?: string): Promise<string> {
  const { code, stdout, stderr } = await node.thin(args, cwd === undefined ? {} : { cwd });
  t.equal(code, 0, `${args.join(' ')}: ${stderr}`);
  return stdout;
}

t.test('thinify, then run on a node that has nothing', async (t) => {
  const made = await runCommand(process.execPath, [thinifyProgram, reference]);
  t.match(made.stdout, /python:1 linux\/amd64: \d+ files/);
  const words = ['python3', '-c', 'import json; print(json.dumps([1]))'];
  const { code, stdout, stderr } = await node.thin(['run', '--rm', reference, ...words]);
  t.same([code, stdout], [0, '[1]\n'], stderr);
  t.match(stderr, /^\S+python:1: thin, \d+ files of .* in all, .* of metadata fetched from .*\n$/);
  const { images, cache, mounts } = await node.status();
  t.match(images, [{ kind: 'thin', references: [reference], platform: /^linux\// }]);
  const bytes = await fetchedBytes(node);
  t.ok(bytes > 0 && bytes < compressedBytes(python) / 2, `${bytes} bytes were fetched`);
  t.ok(cache.files > 0 && cache.files < 2000, `${cache.files} files`);
  t.strictSame(mounts, []);
  const text = await done(t, ['status']);
  t.match(text, /python:1 {2}linux\/\w+ {2}\d+ files, .*, lazy, fetched .* in \d+ requests from /);
});

t.test('the tree is shown from the metadata alone', async (t) => {
  const before = await fetchedBytes(node);
  const names = await done(t, ['ls', reference, '/app']);
  t.equal(names, 'data\nmodel.txt\nold.txt\nserver.py\nsettings.json\nstate\n');
  const long = await done(t, ['ls', '-l', reference, '/app']);
  t.match(long, /^lrwxrwxrwx +1 0:0 +5 2025-01-01 00:00:00 data -> state$/m);
  t.match(long, /^drwxr-xr-x +2 900:900 +\d+ 2025-01-01 00:00:00 state$/m);
  const folder: { path: string }[] = (await done(t, ['ls', '-R', '--json', reference, '/etc/apt']))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  t.ok(folder.some(({ path }) => path === 'apt.conf.d/01autoremove'));
  const model = JSON.parse(await done(t, ['stat', '--json', reference, '/app/model.txt']));
  t.match(model, { type: 'file', mode: '0644', size: 3_000_000, nlink: 1, digest: /^sha256:/ });
  t.equal(await fetchedBytes(node), before, 'no content was fetched');
  t.equal((await node.thin(['ls', reference, '/none'])).code, 3);
});

t.test('cat fetches one file, through links', async (t) => {
  t.equal(await done(t, ['cat', reference, '/app/settings.json']), '{"updated":false}\n');
  const whole = await done(t, ['cat', reference, 'app/../app/model.txt']);
  t.equal(whole.length, 3_000_000);
  t.equal((await done(t, ['cat', reference, '/app/old.txt'])).length, 0);
  const release = await done(t, ['cat', reference, '/etc/os-release']);
  t.match(release, /Debian/, 'a symbolic link to /usr/lib');
  t.equal((await node.thin(['cat', reference, '/app'])).code, 2, 'no file');
  t.equal((await node.thin(['cat', reference, '/none'])).code, 3);
});

t.test('inspect and diff', async (t) => {
  const inspected = JSON.parse(await done(t, ['inspect', reference]));
  t.match(inspected, { kind: 'thin', config: { config: { User: 'app' } }, descriptor: {} });
  t.ok(inspected.inodes > inspected.files);
  const base = `${registry.host}/base:1`;
  await pushToRegistry(await testImage('busybox'), base);
  const lines = await done(t, ['diff', base, reference]);
  t.match(lines, /^A app\/model\.txt$/m);
  t.match(lines, /^C etc\/passwd {2}\(.*content.*\)$/m);
  t.equal(await done(t, ['diff', reference, reference]), '');
});

t.test('a folder of the image, mounted for reading and for writing', async (t) => {
  const at = node.folder;
  await done(t, ['mount', '--read-only', reference, `${at}/read`]);
  await done(t, ['mount', reference, 'write'], at);
  t.equal(readFileSync(`${at}/read/app/settings.json`, 'utf8'), '{"updated":false}\n');
  const refused = await runCommand('touch', [`${at}/read/new`], { mayFail: true });
  t.match(refused.stderr, /Read-only file system/);
  await runCommand('sh', [
    '-c',
    'cd "$0" && rm -r app && mkdir app && echo x > app/y',
    `${at}/write`,
  ]);
  t.equal(readFileSync(`${at}/write/app/y`, 'utf8'), 'x\n');
  const { mounts } = await node.status();
  t.strictSame(
    mounts.map(({ target, readOnly }) => [target, readOnly]),
    [
      [`${at}/read`, true],
      [`${at}/write`, false],
    ],
  );
  t.equal((await node.thin(['mount', reference, `${at}/read`])).code, 8, 'mounted already');

  t.equal((await node.thin(['unmount', 'none'], { cwd: at })).code, 3, 'nothing there');
  const used = await node.thin(['unmount', `${at}/read`], { cwd: `${at}/read` });
  t.equal(used.code, 8);
  t.match(used.stderr, /^error: Cannot unmount .*: something uses it/);
  await done(t, ['unmount', '--force', `${at}/read`], `${at}/read`);
  await done(t, ['unmount', './write'], at);
  t.equal((await node.thin(['unmount', `${at}/write`])).code, 3, 'it is gone');
  t.strictSame((await node.status()).mounts, []);
  await done(t, ['mount', reference, `${at}/write`]);
  t.match(
    readFileSync(`${at}/write/app/server.py`, 'utf8'),
    /http\.server/,
    'changes are forgotten',
  );
  await done(t, ['unmount', `${at}/write`]);
});

t.test('the registry stops, the cache goes on', async (t) => {
  await registry.stop();
  const words = ['python3', '-c', 'import json; print(json.dumps([1]))'];
  t.equal(await done(t, ['run', '--rm', reference, ...words]), '[1]\n');
  await node.stop();
  t.equal(await done(t, ['run', '--rm', reference, ...words]), '[1]\n', 'also in a new daemon');
  t.equal(await fetchedBytes(node), 0);
});

t.test('gc removes what nothing uses', async (t) => {
  await done(t, ['gc']);
  t.equal((await node.status()).images.length, 2, 'images stay');
  await done(t, ['gc', '--all']);
  const { images, cache } = await node.status();
  t.strictSame(images, []);
  t.equal(cache.files + cache.partialFiles, 0);
  t.equal((await node.thin(['ls', reference])).code, 5, 'it must be asked for again');
});
