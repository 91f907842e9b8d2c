import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import { mock } from 'node:test';
import t, { type Test } from 'tap';
import { chooseVictims, type EvictionRound } from '../../src/cache/eviction-policy.js';
import { type EvictionTarget, Evictor } from '../../src/cache/evictor.js';
import { FileCache } from '../../src/cache/file-cache.js';
import { FileUse } from '../../src/cache/file-use.js';
import type { EvictionCandidate, Standing } from '../../src/cache/index-eviction.js';
import type { CacheIndex } from '../../src/cache/index-thread.js';
import { cacheLayout } from '../../src/cache/layout.js';
import { processStart } from '../../src/cache/process-start.js';
import { SpaceBudget } from '../../src/cache/space-budget.js';
import { digestOf } from '../../src/digest.js';
import { cacheOptions, openCache, scratchDirectory, signal, until } from './cache-rig.js';
import { InlineIndex } from './inline-index.js';
import { MemoryOrigin } from './memory-origin.js';
import { metadataOf } from './metadata-of.js';
import { filesIn, tierFiles } from './tier-listing.js';

function candidate(id: number, standing: Standing, allocated = 100): EvictionCandidate {
  const content = digestOf(Buffer.from(String(id)));
  const name = content.slice('sha256:'.length);
  return {
    id,
    kind: 'complete',
    name,
    tier: 'local',
    content,
    size: 90,
    allocated,
    used: id,
    standing,
  };
}

const idle = { inUse: () => false, isLast: () => false };

t.test('policy: least recently used first, as many as needed', (t) => {
  const all = [1, 2, 3, 4].map((id) => candidate(id, 'free'));
  const ids = (bytes: number) => chooseVictims(all, bytes, 'free', idle).map(({ id }) => id);
  t.same(ids(0), []);
  t.same(ids(1), [1]);
  t.same(ids(100), [1]);
  t.same(ids(101), [1, 2]);
  t.same(ids(9999), [1, 2, 3, 4]);
  t.end();
});

t.test('policy: never what is pinned or in use; what is mounted only in its round', (t) => {
  const all = [
    candidate(1, 'pinned'),
    candidate(2, 'mounted'),
    candidate(3, 'free'),
    candidate(4, 'free'),
  ];
  const state = { ...idle, inUse: ({ id }: EvictionCandidate) => id === 3 };
  t.same(
    chooseVictims(all, 999, 'free', state).map(({ id }) => id),
    [4],
  );
  t.same(
    chooseVictims(all, 999, 'mounted', state).map(({ id }) => id),
    [2, 4],
  );
  t.end();
});

t.test('policy: what is to go last goes when nothing else is left', (t) => {
  const all = [candidate(1, 'free'), candidate(2, 'mounted'), candidate(3, 'pinned')];
  const state = { ...idle, isLast: ({ id }: EvictionCandidate) => id === 1 };
  const ids = (round: EvictionRound) => chooseVictims(all, 999, round, state).map(({ id }) => id);
  t.same([ids('free'), ids('mounted'), ids('last')], [[], [2], [1, 2]]);
  t.end();
});

t.test('budget: never over the quota, never under the floor', (t) => {
  let now = 0;
  const budget = new SpaceBudget({ quotaBytes: 1000, freeSpaceFloorBytes: 500 }, () => now);
  budget.measured(10_000);
  t.same(budget.demand, { wanted: 0, needed: 0 });
  t.ok(budget.admit(940));
  t.notOk(budget.admit(61));
  budget.written(940);
  budget.recorded(940, 940);
  t.same(budget.demand, { wanted: 0, needed: 0 }, 'below the high water mark');
  t.ok(budget.admit(60));
  t.match(budget.demand, { wanted: 100, needed: 50 }, 'down to the low one, if it can be had');
  budget.freed(100);
  t.same(budget.demand, { wanted: 0, needed: 0 });
  budget.measured(400);
  t.notOk(budget.admit(1));
  t.match(budget.demand, { needed: 100 });
  budget.measured(10_000);
  budget.full();
  t.notOk(budget.admit(1), 'a full disk is left alone');
  t.ok(budget.demand.needed >= 1024 * 1024);
  now += 3000;
  t.ok(budget.admit(1), 'for a moment');
  t.end();
});

t.test('use: what was read lately is in use, and what is held', (t) => {
  let now = 0;
  const use = new FileUse(() => now);
  const content = digestOf(Buffer.from('x'));
  t.ok(use.used(content));
  t.notOk(use.used(content), 'recorded once in a while');
  now = 9000;
  t.ok(use.inUse(content));
  now = 19_000;
  t.ok(use.inUse(content));
  now = 31_000;
  t.notOk(use.inUse(content));
  const one = use.hold();
  const two = use.hold();
  one.add(content);
  one.add(content);
  two.add(content);
  one[Symbol.dispose]();
  one[Symbol.dispose]();
  t.ok(use.inUse(content));
  two[Symbol.dispose]();
  t.notOk(use.inUse(content));
  t.end();
});

/** Fills a cache, and opens it again: nothing was used lately then. */
async function filled(root: string, origin: MemoryOrigin): Promise<void> {
  const cache = await FileCache.open(cacheOptions(root));
  for (const file of origin.refs()) await cache.read(file, 0, file.size, origin, signal);
  await cache[Symbol.asyncDispose]();
}

const blocks = (count: number) => Array.from({ length: count }, () => randomBytes(4096));

t.test('a smaller quota is reached by the least recently used files', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const origin = new MemoryOrigin('a', blocks(100), 4096, 4096);
  await filled(root, origin);
  const recent = origin.refs().slice(0, 30);
  const touched = await FileCache.open(cacheOptions(root));
  touched.touch(recent.map(({ content }) => content));
  await touched[Symbol.asyncDispose]();
  const cache = await openCache(t, root, { quotaBytes: 50 * 4096 });
  await until(async () => (await cache.usage()).bytes <= 45 * 4096);
  t.ok((await cache.usage()).bytes >= 44 * 4096, 'and no more of them than that');
  for (const { content } of recent) t.ok(existsSync(cache.pathOf(content)));
});

t.test('files of mounted images go last, files of pinned ones never', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const free = new MemoryOrigin('free', blocks(20), 4096, 4096);
  const mounted = new MemoryOrigin('mounted', blocks(20), 4096, 4096);
  const pinned = new MemoryOrigin('pinned', blocks(20), 4096, 4096);
  for (const origin of [pinned, mounted, free]) await filled(root, origin);
  const setUp = await FileCache.open(cacheOptions(root));
  await setUp.pinImage('pinned', pinned.refs(), metadataOf(root, pinned.refs()));
  await setUp.mountImage('mounted', mounted.refs());
  await setUp[Symbol.asyncDispose]();
  const here = (origin: MemoryOrigin, cache: FileCache) =>
    origin.refs().filter(({ content }) => existsSync(cache.pathOf(content))).length;

  const first = await FileCache.open(cacheOptions(root, { quotaBytes: 50 * 4096 }));
  await until(async () => (await first.usage()).bytes <= 45 * 4096);
  t.same(
    [pinned, mounted, free].map((origin) => here(origin, first)),
    [20, 20, 5],
  );
  await first[Symbol.asyncDispose]();

  const second = await FileCache.open(cacheOptions(root, { quotaBytes: 30 * 4096 }));
  await until(async () => (await second.usage()).bytes <= 28 * 4096);
  t.same(
    [pinned, mounted, free].map((origin) => here(origin, second)),
    [20, 8, 0],
  );
  await second[Symbol.asyncDispose]();

  const third = await openCache(t, root, { quotaBytes: 10 * 4096 });
  await until(async () => (await third.usage()).bytes <= 20 * 4096);
  t.same(
    [pinned, mounted, free].map((origin) => here(origin, third)),
    [20, 0, 0],
  );
  const [file] = mounted.refs();
  if (file === undefined) throw new Error('no file');
  const bytes = await third.read(file, 0, 4096, mounted, signal);
  t.ok(bytes.equals(mounted.bytesOf(file)), 'reads go on');
});

t.test('a pin outlives the index, and unpinning ends it', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const origin = new MemoryOrigin('a', blocks(20), 4096, 4096);
  await filled(root, origin);
  const first = await FileCache.open(cacheOptions(root));
  await first.pinImage('image', origin.refs(), metadataOf(root, origin.refs()));
  await first[Symbol.asyncDispose]();
  rmSync(join(root, 'index.db'));
  const cache = await openCache(t, root, { quotaBytes: 5 * 4096 });
  await until(async () => (await cache.usage()).completeFiles === 20);
  t.match((await cache.usage()).images, [
    { image: 'image', pinned: true, mounts: 0, files: 20, completeFiles: 20, bytes: 20 * 4096 },
  ]);
  await cache.gc({ keepImages: ['image'] });
  t.equal(tierFiles(root).length, 20);
  await cache.unpinImage('image');
  await until(async () => (await cache.usage()).bytes <= 5 * 4096);
});

t.test('garbage collection keeps what it is told to, and what is mounted', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const images = ['kept', 'mounted', 'gone'].map(
    (id) => new MemoryOrigin(id, blocks(10), 4096, 4096),
  );
  for (const origin of images) await filled(root, origin);
  await filled(root, new MemoryOrigin('of no image', blocks(7), 4096, 4096));
  const cache = await openCache(t, root);
  for (const origin of images) {
    if (origin.id === 'mounted') await cache.mountImage(origin.id, origin.refs());
    else await cache.rememberImage(origin.id, origin.refs());
  }
  t.equal(tierFiles(root).length, 37);
  const result = await cache.gc({ keepImages: ['kept'] });
  t.same(result, { images: ['gone'], bytes: 17 * 4096 });
  t.equal(tierFiles(root).length, 20);
  await cache.unmountImage('mounted');
  t.match(await cache.gc({ keepImages: [] }), { bytes: 20 * 4096 });
  t.same(tierFiles(root), []);
  t.match(await cache.usage(), { bytes: 0, images: [] });
});

t.test('leases are counted, name their process, and end with it if it is dead', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const first = await FileCache.open(cacheOptions(root));
  await first.mountImage('image', []);
  await first.mountImage('image', []);
  await first.unmountImage('image');
  t.match(await first.leases(), [{ image: 'image', pid: process.pid, count: 1, alive: true }]);
  await first[Symbol.asyncDispose]();
  const cache = await openCache(t, root);
  t.match(await cache.leases(), [{ image: 'image', alive: true }], 'kept over a restart');
  const [lease] = await cache.leases();
  if (lease === undefined) throw new Error('no lease');
  await cache.releaseLease(lease);
  t.same(await cache.leases(), []);
  await cache.unmountImage('image');
  t.same(await cache.leases(), []);
});

t.test('the lease of a daemon that is dead does not outlive garbage collection', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const first = await FileCache.open(cacheOptions(root));
  await first[Symbol.asyncDispose]();
  const index = await InlineIndex.open(cacheLayout(root));
  await index.call('lease', 'image', 2 ** 22 + 1, 1); // beyond the largest process id of Linux
  // A daemon that was killed can be seen in /proc until its parent has asked for it.
  await index.call('lease', 'dying', process.ppid, processStart(process.ppid) ?? 0);
  await index.call('close', true);
  const cache = await openCache(t, root);
  t.same(
    (await cache.leases()).map(({ alive }) => alive),
    [false, false],
  );
  t.match(await cache.gc({ keepImages: [] }), { images: { length: 2 } });
  t.same(await cache.leases(), []);
});

t.test('usage tells how much of an image is here, in whole and in part', async (t) => {
  const origin = new MemoryOrigin('a', [randomBytes(100_000), randomBytes(50)], 4096, 16_384);
  const cache = await openCache(t, join(scratchDirectory(t), 'root'));
  const [big, small] = origin.refs();
  if (big === undefined || small === undefined) throw new Error('no files');
  await cache.mountImage('a', origin.refs());
  await cache.read(big, 0, 10, origin, signal);
  await until(async () => (await cache.usage()).partialFiles === 1);
  const [before] = (await cache.usage()).images;
  t.match(before, { files: 2, completeFiles: 0, partialFiles: 1, bytes: 100_050, mounts: 1 });
  t.ok((before?.partialBytes ?? 0) >= 16_384 && (before?.partialBytes ?? 0) < 40_000);
  await cache.read(small, 0, 50, origin, signal);
  await cache.read(big, 0, 100_000, origin, signal);
  await until(async () => (await cache.usage()).completeFiles === 2);
  const [after] = (await cache.usage()).images;
  t.match(after, { completeFiles: 2, partialFiles: 0, completeBytes: 100_050, partialBytes: 0 });
});

/** A tmpfs of 16 MiB with a cache's root in it; unmounted when the test ends. */
function smallDisk(t: Test): { root: string; freeBytes: () => number } {
  const disk = join(scratchDirectory(t), 'disk');
  mkdirSync(disk, { mode: 0o700 });
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'mode=700,size=16m', 'tmpfs', disk]);
  t.teardown(() => execFileSync('umount', ['-l', disk]));
  const freeBytes = () => {
    const { bavail, bsize } = statfsSync(disk);
    return bavail * bsize;
  };
  return { root: join(disk, 'root'), freeBytes };
}

t.test(
  'what an overlay holds is free when it has looked again, and no more is driven out',
  async (t) => {
    const { root, freeBytes } = smallDisk(t);
    const files = Array.from({ length: 40 }, () => randomBytes(200_000));
    const origin = new MemoryOrigin('a', files, 65_536, 262_144);
    await filled(root, origin);
    const setUp = await FileCache.open(cacheOptions(root));
    await setUp.mountImage('a', origin.refs());
    await setUp[Symbol.asyncDispose]();
    const target = join(scratchDirectory(t), 'overlay');
    mkdirSync(target);
    const lower = `lowerdir=${join(root, 'tiers/local')}:${target}`;
    execFileSync('mount', ['-t', 'overlay', '-o', lower, 'overlay', target]);
    t.teardown(() => execFileSync('umount', ['-l', target]));
    for (const path of filesIn(target)) readFileSync(path);
    let refreshed = 0;
    const floor = freeBytes() + 2_000_000;
    const cache = await openCache(t, root, {
      freeSpaceFloorBytes: floor,
      onMountedEvicted: async () => {
        refreshed++;
        execFileSync('mount', ['-i', '-o', 'remount,ro', target]);
      },
    });
    await until(() => freeBytes() >= floor);
    t.equal(refreshed, 1);
    for (let run = 0; run < 3; run++) await cache.usage();
    const left = tierFiles(root).length;
    t.ok(left >= 26 && left < 32, `${left} files are left`);
    for (const file of origin.refs()) {
      const bytes = await cache.read(file, 0, file.size, origin, signal);
      t.ok(bytes.equals(origin.bytesOf(file)), 'what went is fetched again');
    }
    t.ok(freeBytes() >= floor - 1_000_000, 'and what does not fit is not kept');
  },
);

t.test('the quota holds at every moment, while more is read than fits', async (t) => {
  const { root, freeBytes } = smallDisk(t);
  const quotaBytes = 3_000_000;
  const files = Array.from({ length: 1500 }, (_, at) =>
    randomBytes(at % 100 === 7 ? 90_000 : 3000),
  );
  const origin = new MemoryOrigin('a', files, 16_384, 65_536);
  const cache = await openCache(t, root, { quotaBytes });
  await cache.mountImage('a', origin.refs());
  await cache.usage();
  const indexBytes = () =>
    readdirSync(root)
      .filter((name) => /^(index|lock)\.db/.test(name))
      .reduce((sum, name) => sum + statSync(join(root, name)).blocks * 512, 0);
  const before = freeBytes() + indexBytes();
  let most = 0;
  let left = 8;
  const read = async (lane: number) => {
    for (let at = lane; at < files.length; at += 8) {
      const file = origin.refs()[at];
      if (file === undefined) throw new Error('no file');
      const bytes = await cache.read(file, 0, file.size, origin, signal);
      if (!bytes.equals(origin.bytesOf(file))) throw new Error('wrong bytes');
    }
    left--;
  };
  const watch = async () => {
    while (left > 0) {
      most = Math.max(most, before - freeBytes() - indexBytes());
      await new Promise(setImmediate);
    }
  };
  await Promise.all([watch(), ...Array.from({ length: 8 }, (_, lane) => read(lane))]);
  t.ok(most <= quotaBytes + 200_000, `${most} bytes at most`);
  t.ok(most > quotaBytes * 0.8, 'and it is used');
});

t.test(
  'where many files wait to be recorded, a look asks the disk alone unless room is wanted',
  async (t) => {
    const index: CacheIndex = {
      call: () => Promise.reject(new Error('there is none')),
      stop: async () => {},
    };
    mock.timers.enable({ apis: ['setInterval'] });
    t.teardown(() => mock.timers.reset());
    const budget = new SpaceBudget({ quotaBytes: 1000, freeSpaceFloorBytes: 0 }, () => 0);
    const asked: string[] = [];
    const records: { wait: boolean } = { wait: true };
    const target: EvictionTarget = {
      ...idle,
      refresh: async () => void asked.push('index'),
      measureAlone: async () => {
        asked.push(records.wait ? 'disk' : 'nothing');
        return records.wait;
      },
      remove: async () => {},
      mountedRemoved: async () => {},
      failed: () => {}, // it cannot ask what may go
    };
    await using evictor = new Evictor('local', budget, index, target);
    const look = async (seen: number) => {
      mock.timers.tick(5000);
      await until(() => asked.length >= seen);
    };
    evictor.start();
    await evictor.run();
    await look(2);
    t.ok(budget.admit(960));
    budget.written(960);
    await look(4);
    budget.recorded(0, budget.writtenBytes);
    await look(5);
    records.wait = false;
    await look(7);
    t.same(asked, ['index', 'disk', 'disk', 'index', 'disk', 'nothing', 'index']);
  },
);
