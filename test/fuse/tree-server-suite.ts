import { execFile } from 'node:child_process';
import {
  appendFile,
  chmod,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  statfs,
  symlink,
} from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Test } from 'tap';
import { byteStringFromText } from '../../src/byte-string.js';
import { digestOf } from '../../src/digest.js';
import { type ErrorCode, errorCodes, ThinError } from '../../src/errors.js';
import type { DirectoryNode, TreeNode } from '../../src/image/tree.js';
import { compareTrees, describeDifferences, snapshotTree } from '../support/compare-trees.js';
import { HeldReads, mountTree, type OpenServer, readFrom, until } from './mounted-tree.js';
import { type Contents, directory, file, tortureTree } from './torture-tree.js';
import { expectedSnapshot, type TimeForm } from './tree-expectation.js';

const run = promisify(execFile);

/** Where an implementation of `TreeServer` differs from another; nowhere else may it. */
export interface ServerDifferences {
  readonly times: TimeForm;
}

/** Conformance of a `TreeServer`, on real mounts. */
export function testTreeServer(t: Test, openServer: OpenServer, differs: ServerDifferences): void {
  t.test('shows every oddity of a tree as it is', async (t) => {
    const contents: Contents = new Map();
    const tree = tortureTree(contents);
    const { mountPoint, readErrors } = await mountTree(t, openServer, tree, readFrom(contents));
    const differences = compareTrees(
      expectedSnapshot(tree, differs.times),
      await snapshotTree(mountPoint),
    );
    t.equal(describeDifferences(differences), '');
    t.strictSame(readErrors, []);
  });

  t.test('lists 100 000 names, and goes on from where a reader was', async (t) => {
    const names = Array.from({ length: 100_000 }, (_, at) => `name-${at}`);
    const node = file(new Map(), Buffer.alloc(0));
    const tree = treeOf({ big: directory(names.map((name) => [byteStringFromText(name), node])) });
    const { mountPoint } = await mountTree(t, openServer, tree, readFrom(new Map()));
    const { stdout } = await run('perl', ['-e', seekProgram, join(mountPoint, 'big')]);
    t.equal(stdout, '100002 names, the last 50002 twice the same');
    t.equal((await readdir(join(mountPoint, 'big'))).length, names.length);
  });

  t.test('reads beyond 4 GiB, exactly to the end', async (t) => {
    const size = 6 * 2 ** 30 + 1234;
    const content = digestOf(Buffer.from('a large file'));
    const tree = treeOf({ large: { ...file(new Map(), Buffer.alloc(1)), size, content } });
    const { mountPoint } = await mountTree(t, openServer, tree, async (_, __, offset, length) =>
      pattern(offset, length),
    );
    const handle = await open(join(mountPoint, 'large'));
    t.teardown(() => handle.close());
    for (const offset of [0, 4095, 2 ** 31 - 3, 2 ** 32 - 7, 5 * 2 ** 30 + 11, size - 100]) {
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(10_000), 0, 10_000, offset);
      t.equal(bytesRead, Math.min(10_000, size - offset), `bytes at ${offset}`);
      t.ok(buffer.subarray(0, bytesRead).equals(pattern(offset, bytesRead)), `at ${offset}`);
    }
    t.equal((await handle.read(Buffer.alloc(10), 0, 10, size)).bytesRead, 0, 'the end');
    t.equal((await handle.read(Buffer.alloc(10), 0, 10, size * 4)).bytesRead, 0, 'beyond it');
  });

  t.test('serves many readers at once', async (t) => {
    const contents: Contents = new Map();
    const files = Array.from({ length: 64 }, (_, at) => pattern(at * 77, 100_000 + at));
    const tree = treeOf(
      Object.fromEntries(files.map((bytes, at) => [`f${at}`, file(contents, bytes)])),
    );
    const { mountPoint } = await mountTree(t, openServer, tree, readFrom(contents));
    const read = await Promise.all(
      [...files, ...files].map((_, at) => readFile(join(mountPoint, `f${at % files.length}`))),
    );
    t.ok(read.every((bytes, at) => bytes.equals(files[at % files.length] ?? Buffer.alloc(0))));
  });

  t.test('answers everything else while a read waits', async (t) => {
    const contents: Contents = new Map();
    const held = new HeldReads();
    const tree = treeOf({ slow: file(contents, pattern(0, 5000)), folder: directory([]) });
    const inner = readFrom(contents);
    const { mountPoint } = await mountTree(t, openServer, tree, held.readFile(inner));
    const reading = readFile(join(mountPoint, 'slow'));
    await until('the read arrived', () => held.calls.length > 0);
    t.equal((await stat(join(mountPoint, 'slow'))).size, 5000);
    t.strictSame((await readdir(mountPoint)).sort(), ['folder', 'slow']);
    t.ok((await statfs(mountPoint)).files > 0);
    held.release();
    t.ok((await reading).equals(pattern(0, 5000)));
  });

  t.test('a read that fails is an error for the program, and is told', async (t) => {
    const contents: Contents = new Map();
    const nodes = errorCodes.map((code) => [code, file(contents, Buffer.from(code))] as const);
    const codeOf = new Map(nodes.map(([code]) => [digestOf(Buffer.from(code)), code]));
    const tree = treeOf({ ...Object.fromEntries(nodes), short: file(contents, pattern(0, 300)) });
    const { mountPoint, readErrors } = await mountTree(t, openServer, tree, async (content) => {
      const code = codeOf.get(content);
      if (code) throw new ThinError(code, `Cannot read ${content}: a test`);
      return Buffer.alloc(3);
    });
    for (const code of errorCodes) {
      await t.rejects(readFile(join(mountPoint, code)), { code: wantedErrno[code] }, code);
    }
    await t.rejects(readFile(join(mountPoint, 'short')), { code: 'EIO' }, 'too few bytes');
    const told = new Set(readErrors.map(({ content }) => content));
    const wanted = [...codeOf.keys(), digestOf(pattern(0, 300))];
    t.strictSame([...told].sort(), wanted.sort());
    t.ok((await stat(mountPoint)).isDirectory(), 'and the mount goes on');
  });

  t.test('refuses every change', async (t) => {
    const contents: Contents = new Map();
    const tree = treeOf({ file: file(contents, Buffer.from('x')), folder: directory([]) });
    const { mountPoint } = await mountTree(t, openServer, tree, readFrom(contents));
    const at = (name: string) => join(mountPoint, name);
    const changes: Record<string, () => Promise<unknown>> = {
      write: () => appendFile(at('file'), 'y'),
      create: () => appendFile(at('new'), 'y'),
      mkdir: () => mkdir(at('new')),
      symlink: () => symlink('x', at('new')),
      chmod: () => chmod(at('file'), 0o777),
      rename: () => rename(at('file'), at('new')),
      remove: () => rm(at('file')),
      rmdir: () => rm(at('folder'), { recursive: true }),
    };
    for (const [name, change] of Object.entries(changes)) {
      await t.rejects(change(), { code: 'EROFS' }, name);
    }
  });

  t.test('is not unmounted while it is used, and serves on', async (t) => {
    const contents: Contents = new Map();
    const tree = treeOf({ file: file(contents, pattern(0, 9000)) });
    const { mountPoint, server } = await mountTree(t, openServer, tree, readFrom(contents));
    const handle = await open(join(mountPoint, 'file'));
    await t.rejects(server.unmount(), { code: 'busy', message: /something uses it/ });
    t.ok((await handle.readFile()).equals(pattern(0, 9000)));
    await handle.close();
    await server.unmount();
    t.equal(await server.ended, undefined);
    t.strictSame(await readdir(mountPoint), [], 'only the folder below is left');
    await server.unmount();
  });

  t.test('disposal ends readers that wait, and what comes late harms nobody', async (t) => {
    const contents: Contents = new Map();
    const held = new HeldReads();
    const tree = treeOf({ slow: file(contents, pattern(0, 5000)) });
    const readSlow = held.readFile(readFrom(contents));
    const { mountPoint, server } = await mountTree(t, openServer, tree, readSlow);
    const reading = readFile(join(mountPoint, 'slow'));
    const failed = t.rejects(reading, { code: /ECONNABORTED|ENOTCONN|EINTR|EIO/ });
    await until('the read arrived', () => held.calls.length > 0);
    await server[Symbol.asyncDispose]();
    await failed;
    t.ok(held.calls.every(({ signal }) => signal.aborted));
    held.release();
    t.equal(await server.ended, undefined);
    await server[Symbol.asyncDispose]();
    t.strictSame(await readdir(mountPoint), []);
  });

  t.test('refuses a place that is none', async (t) => {
    const tree = treeOf({});
    const at = (mountPoint: string) =>
      mountTree(t, openServer, tree, readFrom(new Map()), { mountPoint });
    await t.rejects(at('/nonexistent/place'), { code: 'not-found' });
    await t.rejects(at(import.meta.filename), { code: 'invalid' });
    const metadata = Buffer.alloc(8192);
    const damaged = mountTree(t, openServer, tree, readFrom(new Map()), { metadata });
    await t.rejects(damaged, { name: 'ThinError' }, 'metadata that is none');
  });
}

function treeOf(children: Readonly<Record<string, TreeNode>>): DirectoryNode {
  return directory(Object.entries(children).map(([key, node]) => [byteStringFromText(key), node]));
}

const wantedErrno: Readonly<Record<ErrorCode, string>> = {
  invalid: 'EINVAL',
  'not-found': 'EIO',
  denied: 'EACCES',
  unavailable: 'EIO',
  corrupt: 'EIO',
  'no-space': 'ENOSPC',
  busy: 'EIO',
  canceled: 'EINTR',
};

/** Bytes that tell their offset, so that a read from elsewhere is seen. */
function pattern(offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; at++) {
    const place = offset + at;
    bytes[at] = (place ^ Math.floor(place / 251) ^ Math.floor(place / 2 ** 32)) & 0xff;
  }
  return bytes;
}

/** readdir(3) of half a folder, telldir(3), the rest, seekdir(3), the rest again. */
const seekProgram = `
  opendir(my $folder, $ARGV[0]) or die $!;
  my @first = map { scalar readdir $folder } 1..50000;
  my $place = telldir $folder;
  my @rest = readdir $folder;
  seekdir $folder, $place;
  my @again = readdir $folder;
  my %seen = map { $_ => 1 } @first, @rest;
  my $same = "@rest" eq "@again" ? 'the same' : 'but different';
  printf '%d names, the last %d twice %s', scalar keys %seen, scalar @rest, $same;
`;
