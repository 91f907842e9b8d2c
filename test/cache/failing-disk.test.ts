import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { openToRead } from '../../src/cache/disk.js';
import { FileCache } from '../../src/cache/file-cache.js';
import { GuardedDisk } from '../../src/cache/guarded-disk.js';
import { cacheOptions, openCache, scratchDirectory, signal, until } from './cache-rig.js';
import { FaultyDisk } from './faulty-disk.js';
import { MemoryOrigin } from './memory-origin.js';
import { tierFiles, wrongTierFiles } from './tier-listing.js';

/** A file system of its own that is soon full; unmounted when the test ends. */
function smallFileSystem(t: Test, options: string): string {
  const directory = join(scratchDirectory(t), 'disk');
  mkdirSync(directory, { mode: 0o700 });
  execFileSync('mount', ['-t', 'tmpfs', '-o', `mode=700,${options}`, 'tmpfs', directory]);
  t.teardown(() => execFileSync('umount', ['-l', directory]));
  return directory;
}

async function readAll(t: Test, cache: FileCache, origin: MemoryOrigin): Promise<void> {
  let wrong = 0;
  for (const file of origin.refs()) {
    const bytes = await cache.read(file, 0, file.size, origin, signal);
    if (!bytes.equals(origin.bytesOf(file))) wrong++;
  }
  t.equal(wrong, 0, 'all bytes are right');
}

/** A file that is open on a guarded disk, whose going down and coming back is written down. */
async function guardedFile(t: Test) {
  const faulty = new FaultyDisk();
  const states: boolean[] = [];
  const disk = new GuardedDisk(faulty, (down) => states.push(down));
  const path = join(scratchDirectory(t), 'file');
  writeFileSync(path, 'hello');
  return { faulty, states, disk, fd: await disk.open(path, openToRead) };
}

const manyFiles = (count: number, size: number) =>
  Array.from({ length: count }, () => randomBytes(size));

t.test('a full disk fails no read, and the cache takes up again when there is room', async (t) => {
  const disk = smallFileSystem(t, 'size=6m');
  const ballast = join(disk, 'ballast');
  writeFileSync(ballast, Buffer.alloc(4 * 1024 * 1024));
  const root = join(disk, 'root');
  const origin = new MemoryOrigin('a', manyFiles(150, 20_000), 4096, 65_536);
  const cache = await openCache(t, root);
  await readAll(t, cache, origin);
  await readAll(t, cache, origin);
  t.same(wrongTierFiles(root), [], 'no torn file');
  rmSync(ballast);
  await until(async () => {
    await readAll(t, cache, origin);
    return tierFiles(root).length === 150;
  });
});

t.test('a disk without inodes fails no read either', async (t) => {
  const disk = smallFileSystem(t, 'size=20m,nr_inodes=800');
  const root = join(disk, 'root');
  const origin = new MemoryOrigin('a', manyFiles(600, 300), 4096, 4096);
  const cache = await openCache(t, root);
  await readAll(t, cache, origin);
  t.ok((await cache.usage()).failures > 0);
  t.same(wrongTierFiles(root), []);
});

t.test(
  'a cache that finds its disk full opens and serves, and is whole again afterwards',
  async (t) => {
    const disk = smallFileSystem(t, 'size=5m');
    const root = join(disk, 'root');
    const origin = new MemoryOrigin('a', manyFiles(50, 20_000), 4096, 65_536);
    const first = await FileCache.open(cacheOptions(root));
    await readAll(t, first, origin);
    await first[Symbol.asyncDispose]();
    rmSync(join(root, 'index.db'));
    try {
      for (let at = 0; ; at++) writeFileSync(join(disk, `ballast${at}`), Buffer.alloc(4096));
    } catch {
      // full
    }
    const second = await FileCache.open(cacheOptions(root));
    await readAll(t, second, origin);
    await second[Symbol.asyncDispose]();
    execFileSync('sh', ['-c', `rm ${disk}/ballast*`]);
    const third = await openCache(t, root);
    await readAll(t, third, origin);
    await until(async () => (await third.usage()).completeFiles === 50);
  },
);

t.test('the floor of free space is kept', async (t) => {
  const disk = smallFileSystem(t, 'size=8m');
  const root = join(disk, 'root');
  const origin = new MemoryOrigin('a', manyFiles(200, 40_000), 4096, 65_536);
  const cache = await openCache(t, root, { freeSpaceFloorBytes: 4 * 1024 * 1024 });
  await cache.usage();
  await readAll(t, cache, origin);
  const free = Number(execFileSync('stat', ['-f', '-c', '%a', disk], { encoding: 'utf8' })) * 4096;
  t.ok(free >= 3 * 1024 * 1024, `${free} bytes are free: the index may take some of the floor`);
  t.ok(tierFiles(root).length > 10, 'and what is above it is used');
});

t.test('a disk that errs is left alone, and used again when it works', async (t) => {
  const { faulty, states, disk, fd } = await guardedFile(t);
  faulty.faults.set('read', 'EIO');
  for (let at = 0; at < 3; at++)
    await t.rejects(disk.read(fd, Buffer.alloc(5), 0), { code: 'EIO' });
  t.ok(disk.down);
  faulty.faults.clear();
  await t.rejects(disk.read(fd, Buffer.alloc(5), 0), { code: 'unavailable' });
  await until(() => !disk.down);
  t.equal(await disk.read(fd, Buffer.alloc(5), 0), 5);
  t.same(states, [true, false]);
  await disk.close(fd);
});

t.test('a process that stood still has no hanging disk', async (t) => {
  const { faulty, states, disk, fd } = await guardedFile(t);
  faulty.hanging.add('read');
  t.teardown(() => faulty.release());
  const read = disk.read(fd, Buffer.alloc(5), 0);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3500); // longer than it waits
  let looks = 0; // of a timer like the disk's own, which has looked too when this one has twice
  const look = setInterval(() => looks++, 250);
  await until(() => looks >= 2);
  clearInterval(look);
  faulty.release();
  t.equal(await read, 5);
  t.same(states, []);
  await disk.close(fd);
});

t.test('a hanging disk costs one deadline, not one for each read', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const faulty = new FaultyDisk();
  const origin = new MemoryOrigin('a', manyFiles(40, 5000), 4096, 16_384);
  const cache = await openCache(t, root, { disk: faulty });
  await readAll(t, cache, origin);
  await cache.usage();
  for (const operation of ['open', 'read', 'write', 'rename', 'exists'] as const) {
    faulty.hanging.add(operation);
  }
  t.teardown(() => faulty.release());
  const other = new MemoryOrigin('b', manyFiles(40, 5000), 4096, 16_384);
  const reads = [...origin.refs().map((file) => cache.read(file, 0, 5000, origin, signal))];
  await Promise.all(reads);
  await readAll(t, cache, other);
  t.notOk((await cache.usage().catch(() => ({ diskWorks: false }))).diskWorks);
  faulty.release();
  const [file] = other.refs();
  if (file === undefined) throw new Error('no file');
  await until(async () => {
    await readAll(t, cache, other);
    return (await cache.usage()).diskWorks && (await cache.has(file.content));
  });
});

t.test('what was pulled in full is nowhere else: its reads wait for the disk', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const faulty = new FaultyDisk();
  const source = new MemoryOrigin('a', manyFiles(3, 5000), 4096, 16_384);
  const first = await openCache(t, root);
  await readAll(t, first, source);
  await first[Symbol.asyncDispose]();
  const options = cacheOptions(root, { disk: faulty });
  const cache = await FileCache.open(options);
  t.teardown(() => cache[Symbol.asyncDispose]());
  const pulled = { ...source, id: 'b', chunksOf: () => undefined, placementsIn: () => [] };
  const origin = { ...pulled, fetchFrame: () => Promise.reject(new Error('there is none')) };
  const [one, two] = source.refs();
  if (!one || !two) throw new Error('no files');
  faulty.hanging.add('open');
  t.teardown(() => faulty.release());
  const read = cache.read(one, 0, one.size, origin, signal);
  await until(() => options.lines.some(({ message }) => /going on without it/.test(message)));
  faulty.release();
  t.ok((await read).equals(source.bytesOf(one)));
  faulty.faults.set('read', 'EIO');
  await t.rejects(cache.read(two, 0, two.size, origin, signal), {
    code: 'unavailable',
    message: /EIO/,
  });
});
