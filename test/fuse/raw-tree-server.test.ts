import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { mkdir, open, readFile as readFileOf, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import t from 'tap';
import { byteStringFromText as name } from '../../src/byte-string.js';
import { tierPath } from '../../src/cache/layout.js';
import { type Digest, digestOf } from '../../src/digest.js';
import { ThinError } from '../../src/errors.js';
import { findMount } from '../../src/fuse/mount-table.js';
import { openRawTree } from '../../src/fuse/raw-tree-server.js';
import type { ReadFile } from '../../src/fuse/read-forwarder.js';
import { cleanUp } from '../support/clean-up.js';
import { snapshotTree } from '../support/compare-trees.js';
import { HeldReads, mountTree, readFrom, temporaryFolder, until } from './mounted-tree.js';
import { type Contents, directory, file } from './torture-tree.js';
import { testTreeServer } from './tree-server-suite.js';

const run = promisify(execFile);

testTreeServer(t, openRawTree, { times: 'nanoseconds' });

t.test('reads what is complete in a tier without asking', async (t) => {
  const contents: Contents = new Map();
  const bytes = Array.from({ length: 200 }, (_, at) => randomBytes(3000 + at * 700));
  const tree = directory(bytes.map((body, at) => [name(`f${at}`), file(contents, body)]));
  const tiers = [await temporaryFolder(t), await temporaryFolder(t)];
  for (const [at, body] of bytes.entries()) await putInTier(tiers[at % 2], body);
  const asked: Digest[] = [];
  const readFile = (content: Digest): Promise<Buffer> => {
    asked.push(content);
    throw new ThinError('unavailable', 'Cannot read: nothing is to be asked for');
  };
  const mounted = await mountTree(t, openRawTree, tree, readFile, { tiers });
  const readAll = () =>
    Promise.all(bytes.map((_, at) => readFileOf(join(mounted.mountPoint, `f${at}`))));
  t.ok((await readAll()).every((read, at) => read.equals(bytes[at] ?? Buffer.alloc(0))));
  t.strictSame(asked, []);
  await mounted.server.unmount();
  t.strictSame([...new Set(mounted.firstUses)].sort(), [...contents.keys()].sort());
});

t.test('asks for what a tier has torn, or only later', async (t) => {
  const contents: Contents = new Map();
  const [torn, later] = [randomBytes(2_500_000), randomBytes(2_500_000)];
  const tree = directory([
    [name('torn'), file(contents, torn)],
    [name('later'), file(contents, later)],
  ]);
  const tier = await temporaryFolder(t);
  await putInTier(tier, torn, torn.subarray(0, 1000));
  const options = { tiers: [tier] };
  const { mountPoint, firstUses } = await mountTree(
    t,
    openRawTree,
    tree,
    readFrom(contents),
    options,
  );
  t.ok((await readFileOf(join(mountPoint, 'torn'))).equals(torn));
  const handle = await open(join(mountPoint, 'later'));
  t.teardown(() => handle.close());
  const start = await handle.read(Buffer.alloc(1000), 0, 1000, 0);
  t.ok(start.buffer.equals(later.subarray(0, 1000)));
  await putInTier(tier, later);
  contents.delete(digestOf(later));
  const end = await handle.read(Buffer.alloc(1000), 0, 1000, 2_400_000);
  t.ok(end.buffer.equals(later.subarray(2_400_000, 2_401_000)));
  await until('its use was told', () => firstUses.length > 0);
  t.strictSame(firstUses, [digestOf(later)]);
});

t.test('looks again for files that are gone from a tier, when it is told to', async (t) => {
  const contents: Contents = new Map();
  const bytes = randomBytes(2_500_000);
  const tree = directory([[name('file'), file(contents, bytes)]]);
  const tier = await temporaryFolder(t);
  await putInTier(tier, bytes);
  const asked: number[] = [];
  const readFile: ReadFile = (content, size, offset, length, signal) => {
    asked.push(offset);
    return readFrom(contents)(content, size, offset, length, signal);
  };
  const { server, mountPoint } = await mountTree(t, openRawTree, tree, readFile, { tiers: [tier] });
  const handle = await open(join(mountPoint, 'file'));
  t.teardown(() => handle.close());
  const readAt = async (offset: number) => {
    const { buffer } = await handle.read(Buffer.alloc(1000), 0, 1000, offset);
    t.ok(buffer.equals(bytes.subarray(offset, offset + 1000)));
  };
  await readAt(0);
  await rm(tierPath(tier, digestOf(bytes)));
  t.same(asked, []);
  server.closeFiles();
  await readAt(2_400_000);
  t.not(asked.length, 0);
});

t.test('notices that somebody else unmounts', async (t) => {
  const tree = directory([]);
  const { mountPoint, server } = await mountTree(t, openRawTree, tree, readFrom(new Map()));
  await run('umount', [mountPoint]);
  t.equal(await server.ended, undefined);
});

t.test('ends what was detached while it is used', async (t) => {
  const contents: Contents = new Map();
  const held = new HeldReads();
  const tree = directory([[name('slow'), file(contents, randomBytes(5000))]]);
  const readSlow = held.readFile(readFrom(contents));
  const { mountPoint, server } = await mountTree(t, openRawTree, tree, readSlow);
  const failed = t.rejects(readFileOf(join(mountPoint, 'slow')), {
    code: /ECONNABORTED|ENOTCONN|EINTR|EIO/,
  });
  await until('the read arrived', () => held.calls.length > 0);
  await run('umount', ['-l', mountPoint]);
  await server[Symbol.asyncDispose]();
  await failed;
  t.equal(await server.ended, undefined);
});

t.test('leaves no mount when its thread has ended before anybody hears of it', async (t) => {
  const mountPoint = await temporaryFolder(t);
  cleanUp(t, () => run('umount', ['-l', mountPoint]).catch(() => undefined));
  const before = new Set(readdirSync('/proc/self/task'));
  const others = () => readdirSync('/proc/self/task').filter((thread) => !before.has(thread));
  process.once('worker', () => standStillUntilEnded(others));
  const readFile = readFrom(new Map());
  const damaged = { mountPoint, metadata: Buffer.alloc(8192) };
  const opening = mountTree(t, openRawTree, directory([]), readFile, damaged);
  await t.rejects(opening, { name: 'ThinError' });
  t.equal(await findMount(mountPoint), undefined);
});

/** As where another program has the core: threads go on, and what they tell waits until they have ended. */
function standStillUntilEnded(threads: () => string[]): void {
  const cell = new Int32Array(new SharedArrayBuffer(4));
  const deadline = Date.now() + 60_000;
  while (threads().length > 0 && Date.now() < deadline) Atomics.wait(cell, 0, 0, 10);
}

t.test('ends although another mount namespace has a copy', async (t) => {
  const contents: Contents = new Map();
  const tree = directory([[name('file'), file(contents, randomBytes(5000))]]);
  const { mountPoint, server } = await mountTree(t, openRawTree, tree, readFrom(contents));
  const other = spawn('unshare', ['--mount', 'sh', '-c', 'echo copied; exec sleep 1000'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(other, 'exit');
  t.teardown(async () => {
    other.kill('SIGKILL');
    await ended;
  });
  await once(other.stdout, 'data');
  await server.unmount();
  t.equal(await findMount(mountPoint), undefined);
});

t.test('access control lists of the image are shown and enforced', async (t) => {
  const entries = [
    [0x01, 6, 0xffff_ffff],
    [0x02, 4, 1234],
    [0x04, 0, 0xffff_ffff],
    [0x10, 4, 0xffff_ffff],
    [0x20, 0, 0xffff_ffff],
  ];
  const list = Buffer.alloc(4 + 8 * entries.length);
  list.writeUInt32LE(2, 0);
  for (const [at, [tag = 0, permissions = 0, id = 0]] of entries.entries()) {
    list.writeUInt16LE(tag, 4 + at * 8);
    list.writeUInt16LE(permissions, 6 + at * 8);
    list.writeUInt32LE(id, 8 + at * 8);
  }
  const contents: Contents = new Map();
  const xattrs = new Map([[name('system.posix_acl_access'), list]]);
  const listed = file(contents, Buffer.from('for 1234\n'), { mode: 0o640, xattrs });
  const tree = directory([[name('listed'), listed]]);
  const options = { allowOther: true };
  const mounted = await mountTree(t, openRawTree, tree, readFrom(contents), options);
  const path = join(mounted.mountPoint, 'listed');
  const readAs = (user: number) =>
    run('setpriv', [`--reuid=${user}`, '--regid=99', '--clear-groups', 'cat', path]);
  t.equal((await readAs(1234)).stdout, 'for 1234\n');
  await t.rejects(readAs(1235), /Permission denied/);
  const seen = await snapshotTree(mounted.mountPoint);
  t.equal(seen.get(name('listed'))?.xattrs['system.posix_acl_access'], list.toString('hex'));
});

t.test(
  'devices are seen and not opened; setuid counts only where that was asked for',
  async (t) => {
    const contents: Contents = new Map();
    const id = file(contents, await readFileOf('/usr/bin/id'), { mode: 0o4755 });
    const device = { type: 'character' as const, device: { major: 1, minor: 3 } };
    const none = { ...file(contents, Buffer.alloc(0)), ...device };
    const tree = directory([
      [name('id'), id],
      [name('null'), none],
    ]);
    for (const setuid of [false, true]) {
      const options = { allowOther: true, setuid };
      const { mountPoint } = await mountTree(t, openRawTree, tree, readFrom(contents), options);
      t.ok((await stat(join(mountPoint, 'null'))).isCharacterDevice());
      await t.rejects(readFileOf(join(mountPoint, 'null')), { code: 'EACCES' });
      const args = ['--reuid=1234', '--clear-groups', join(mountPoint, 'id'), '-u'];
      t.equal((await run('setpriv', args)).stdout.trim(), setuid ? '0' : '1234');
    }
  },
);

/** Reads one page by a page fault that the kernel does not read ahead of; SIGUSR1 is handled. */
const faultProgram = `
import mmap, os, signal, sys
signal.signal(signal.SIGUSR1, lambda *_: None)
fd = os.open(sys.argv[1], os.O_RDONLY)
view = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
view.madvise(mmap.MADV_RANDOM)
print('mapped', flush=True)
print(view[8192], flush=True)
`;

t.test('a signal does not spoil a page fault, and a killed program gets out of it', async (t) => {
  const contents: Contents = new Map();
  const bytes = randomBytes(50_000);
  const held = new HeldReads();
  const tree = directory([[name('mapped'), file(contents, bytes)]]);
  const readSlow = held.readFile(readFrom(contents));
  const { mountPoint } = await mountTree(t, openRawTree, tree, readSlow);
  const start = () =>
    spawn('python3', ['-c', faultProgram, join(mountPoint, 'mapped')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });

  const killed = start();
  const killedEnd = once(killed, 'exit');
  await until('the fault arrived', () => held.calls.length === 1);
  killed.kill('SIGUSR1');
  killed.kill('SIGKILL');
  t.strictSame(await killedEnd, [null, 'SIGKILL']);
  t.ok(held.calls[0]?.signal.aborted);

  const signalled = start();
  const [end, output] = [once(signalled, 'exit'), text(signalled.stdout)];
  await until('the fault arrived', () => held.calls.length === 2);
  signalled.kill('SIGUSR1');
  // The kernel tells of the signal before it sends these.
  for (let request = 0; request < 20; request++) await statfs(mountPoint);
  t.notOk(held.calls[1]?.signal.aborted);
  held.release();
  t.strictSame(await end, [0, null]);
  t.equal(await output, `mapped\n${bytes[8192]}\n`);
});

async function putInTier(tier: string | undefined, whole: Buffer, kept = whole): Promise<void> {
  const path = tierPath(tier ?? '', digestOf(whole));
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, kept);
}
