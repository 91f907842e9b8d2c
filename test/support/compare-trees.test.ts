import { chmod, lchown, link, mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { compareTrees, describeDifferences, snapshotTree } from './compare-trees.js';
import { runCommand } from './run-command.js';

const content = Buffer.alloc(300_000, 'thinfs');

/** One of every kind of entry, with names that are no UTF-8. */
async function plant(folder: string): Promise<string> {
  await mkdir(join(folder, 'directory/inner'), { recursive: true });
  await writeFile(join(folder, 'directory/file'), content);
  await writeFile(Buffer.concat([Buffer.from(`${folder}/`), Buffer.from([0xe9, 0x0a])]), 'latin-1');
  await link(join(folder, 'directory/file'), join(folder, 'hard link'));
  await writeFile(join(folder, 'twin'), content);
  await symlink('directory/file', join(folder, 'link'));
  await runCommand('mkfifo', [join(folder, 'fifo')]);
  await runCommand('mknod', [join(folder, 'device'), 'c', '1', '3']);
  await runCommand('setfattr', ['-n', 'user.note', '-v', '0x00ff0a', join(folder, 'twin')]);
  await runCommand('setcap', ['cap_net_raw=ep', join(folder, 'twin')]);
  const every = ['-exec', 'touch', '--no-dereference', '--date=@1234567890.123456789', '{}', '+'];
  await runCommand('find', [folder, ...every]);
  return folder;
}

interface Change {
  readonly name: string;
  readonly change: (folder: string) => Promise<unknown>;
  /** `path: what` of each difference that must be found. */
  readonly found: readonly string[];
}

const keepTime = '--date=@1234567890.123456789';

const changes: readonly Change[] = [
  { name: 'nothing', change: async () => undefined, found: [] },
  { name: 'content', change: (at) => overwrite(at, 'twin'), found: ['twin: content'] },
  {
    name: 'content of a file with two names',
    change: (at) => overwrite(at, 'directory/file'),
    found: ['directory/file: content', 'hard link: content'],
  },
  { name: 'mode', change: (at) => chmod(join(at, 'device'), 0o4644), found: ['device: mode'] },
  { name: 'owner', change: (at) => lchown(join(at, 'link'), 1, 0), found: ['link: uid'] },
  { name: 'group', change: (at) => lchown(join(at, 'fifo'), 0, 70_000), found: ['fifo: gid'] },
  { name: 'owner of the root', change: (at) => lchown(at, 5, 0), found: [': uid'] },
  {
    name: 'one nanosecond',
    change: (at) => runCommand('touch', ['-h', '--date=@1234567890.123456788', join(at, 'link')]),
    found: ['link: mtime'],
  },
  {
    name: 'an added attribute',
    change: (at) => runCommand('setfattr', ['-n', 'user.new', join(at, 'directory')]),
    found: ['directory: xattr user.new'],
  },
  {
    name: 'one bit of an attribute',
    change: (at) => runCommand('setfattr', ['-n', 'user.note', '-v', '0x00fe0a', join(at, 'twin')]),
    found: ['twin: xattr user.note'],
  },
  {
    name: 'a lost capability',
    change: (at) => runCommand('setcap', ['-r', join(at, 'twin')]),
    found: ['twin: xattr security.capability'],
  },
  {
    name: 'link target',
    change: (at) => replace(at, 'link', (path) => symlink('directory/fil2', path)),
    found: ['link: target'],
  },
  {
    name: 'device number',
    change: (at) => replace(at, 'device', (path) => runCommand('mknod', [path, 'c', '1', '5'])),
    found: ['device: device'],
  },
  {
    name: 'type',
    change: (at) => replace(at, 'device', (path) => runCommand('mknod', [path, 'b', '1', '3'])),
    found: ['device: type'],
  },
  {
    name: 'a hard link that became a copy',
    change: (at) =>
      replace(at, 'hard link', (path) =>
        runCommand('cp', ['--preserve=all', join(at, 'directory/file'), path]),
      ),
    found: ['directory/file: nlink', 'hard link: nlink', 'hard link: linkedWith'],
  },
  {
    name: 'a copy that became a hard link',
    change: async (at) => {
      await link(join(at, 'twin'), join(at, 'link 2'));
      await rename(join(at, 'link 2'), join(at, 'directory/inner/twin'));
      await touch(at, 'directory/inner');
      await touch(at, '.');
    },
    found: ['twin: nlink', 'twin: linkedWith', 'directory/inner/twin: existence'],
  },
  {
    name: 'a missing name',
    change: (at) => rm(join(at, 'link')).then(() => touch(at, '.')),
    found: ['link: existence'],
  },
  {
    name: 'size',
    change: async (at) => {
      await runCommand('truncate', ['-s', '300001', join(at, 'hard link')]);
      await touch(at, 'hard link');
    },
    found: ['directory/file: size', 'directory/file: content'].flatMap((text) => [
      text,
      text.replace('directory/file', 'hard link'),
    ]),
  },
];

async function overwrite(folder: string, name: string): Promise<void> {
  const changed = Buffer.from(content);
  changed[299_999] = 0;
  const path = join(folder, name);
  await runCommand('dd', [`of=${path}`, 'conv=notrunc', 'bs=1M'], { input: changed });
  // Writing has taken the capability away.
  if (name === 'twin') await runCommand('setcap', ['cap_net_raw=ep', path]);
  await touch(folder, name);
}

/** Puts another entry in the place of one, with the same time and mode. */
async function replace(
  folder: string,
  name: string,
  make: (path: string) => Promise<unknown>,
): Promise<void> {
  await rm(join(folder, name));
  await make(join(folder, name));
  await touch(folder, name);
  await touch(folder, '.');
}

async function touch(folder: string, name: string): Promise<void> {
  await runCommand('touch', ['--no-dereference', keepTime, join(folder, name)]);
}

t.test('finds each planted difference, and nothing else', async (t) => {
  const expected = await snapshotTree(await plant(t.testdir({})));
  t.equal(expected.size, 10, 'all entries are there');
  for (const { name, change, found } of changes) {
    const folder = await plant(t.testdir({}));
    await change(folder);
    const differences = compareTrees(expected, await snapshotTree(folder));
    const told = differences.map(({ path, what }) => `${path}: ${what}`);
    t.equal(told.length, found.length, `number of differences: ${name}`);
    t.strictSame(new Set(told), new Set(found), name);
  }
});

t.test('tells differences in a few lines', async (t) => {
  const differences = Array.from({ length: 30 }, (_, at) => ({
    path: `file ${at}`,
    what: 'mode',
    expected: '420',
    actual: '493',
  }));
  const lines = describeDifferences(differences, 2).split('\n');
  t.strictSame(lines, [
    '/file 0: mode: 493 (wanted 420)',
    '/file 1: mode: 493 (wanted 420)',
    'and 28 more',
  ]);
});

t.test('refuses a folder that is not there', async (t) => {
  await t.rejects(snapshotTree('/does-not-exist'), /exited with 1/);
});
