import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { FileStore } from '../../native-bindings/file-store.js';
import type { Disk } from '../../src/cache/disk.js';
import { FileCache, type TierOptions } from '../../src/cache/file-cache.js';
import type { FileRef } from '../../src/cache/file-origin.js';
import { tierPath } from '../../src/cache/layout.js';
import { packFiles } from '../../src/cache/packed-files.js';
import { type Digest, digestOf } from '../../src/digest.js';
import {
  cacheOptions,
  openCache,
  quickDisk,
  scratchDirectory,
  signal,
  until,
} from './cache-rig.js';
import { MemoryOrigin } from './memory-origin.js';
import { filesIn, tierFiles } from './tier-listing.js';

function fastTier(directory: string, quotaBytes = 1e9): TierOptions {
  return { name: 'fast', directory, quotaBytes, freeSpaceFloorBytes: 0 };
}

/** A cache with a fast tier beside its root. */
function places(t: Test): { root: string; fast: string } {
  const directory = scratchDirectory(t);
  return { root: join(directory, 'root'), fast: join(directory, 'fast') };
}

async function store(cache: FileCache, bytes: Buffer, tier?: string): Promise<FileRef> {
  using hold = cache.hold();
  const writer = cache.fileWriter(hold, tier === undefined ? {} : { tier });
  for (let at = 0; at < bytes.length; at += 300_000) {
    await writer.write(bytes.subarray(at, at + 300_000));
  }
  return writer.commit();
}

const none = new MemoryOrigin('none', [], 4096, 4096);

t.test('writers say which tier, and files are found in all', async (t) => {
  const { root, fast } = places(t);
  const cache = await openCache(t, root, { tiers: [fastTier(fast)] });
  t.same(cache.tierDirectories, [fast, join(root, 'tiers/local')]);
  const small = randomBytes(100);
  const large = randomBytes(2_000_000);
  const first = await store(cache, small, 'fast');
  const file = await store(cache, large, 'fast');
  const local = await store(cache, randomBytes(3000));
  t.equal(filesIn(fast).length, 2);
  t.equal(tierFiles(root).length, 1);
  for (const { content } of [first, file, local]) t.ok(await cache.has(content));
  const bytes = await cache.read(file, 1_000_000, 5000, none, signal);
  t.ok(bytes.equals(large.subarray(1_000_000, 1_005_000)));
  await store(cache, small);
  t.equal(tierFiles(root).length, 1, 'what is in one tier is not stored in another');
  await until(async () => (await cache.usage()).completeFiles === 3);
  t.match((await cache.usage()).tiers, [
    { name: 'fast', bytes: 4096 + 2_002_944 },
    { name: 'local', bytes: 4096 },
  ]);
  t.throws(() => cache.fileWriter(cache.hold(), { tier: 'gold' }), {
    code: 'invalid',
    message: 'Cannot use tier "gold": there is none (wanted fast, local)',
  });
});

t.test('a tier that is full passes files on to the local one', async (t) => {
  const { root, fast } = places(t);
  const cache = await openCache(t, root, { tiers: [fastTier(fast, 1_500_000)] });
  const hold = cache.hold();
  const files = [900_000, 1_400_000, 2_500_000, 500_000].map((size) => randomBytes(size));
  for (const bytes of files) {
    const writer = cache.fileWriter(hold, { tier: 'fast' });
    for (let at = 0; at < bytes.length; at += 300_000) {
      await writer.write(bytes.subarray(at, at + 300_000));
    }
    const file = await writer.commit();
    t.ok((await cache.read(file, 0, file.size, none, signal)).equals(bytes));
  }
  const inFast = filesIn(fast).map((path) => readFileSync(path).length);
  t.ok(inFast.reduce((sum, size) => sum + size, 0) <= 1_500_000, 'its quota holds');
  t.same(readdirSync(join(fast, '.incoming')), []);
  t.same(readdirSync(join(root, 'tiers/local/.incoming')), []);
  t.equal(inFast.length + tierFiles(root).length, 4);
});

t.test('a tier whose disk is full, while a file with a hole is on its way', async (t) => {
  const { root, fast } = places(t);
  mkdirSync(fast, { mode: 0o700 });
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'mode=700,size=3m', 'tmpfs', fast]);
  t.teardown(() => execFileSync('umount', ['-l', fast]));
  const cache = await openCache(t, root, { tiers: [fastTier(fast)] });
  using hold = cache.hold();
  const writer = cache.fileWriter(hold, { tier: 'fast' });
  const head = randomBytes(1_500_000);
  const tail = randomBytes(2_500_000);
  await writer.write(head);
  await writer.hole(5_000_000);
  await writer.write(tail);
  const file = await writer.commit();
  const whole = Buffer.concat([head, Buffer.alloc(5_000_000), tail]);
  t.equal(file.content, digestOf(whole));
  t.ok(readFileSync(cache.pathOf(file.content)).equals(whole));
});

t.test('files move between tiers, and no reader misses them', async (t) => {
  const { root, fast } = places(t);
  const cache = await openCache(t, root, { tiers: [fastTier(fast)] });
  const contents: { file: FileRef; bytes: Buffer }[] = [];
  for (let at = 0; at < 30; at++) {
    const bytes = randomBytes(at === 7 ? 3_000_000 : 2000);
    contents.push({ bytes, file: await store(cache, bytes) });
  }
  const digests = contents.map(({ file }) => file.content);
  const stop = new AbortController();
  const reading = (async () => {
    for (let reads = 0; ; reads++) {
      for (const { file, bytes } of contents) {
        if (stop.signal.aborted) return reads;
        const found = await cache.read(file, 0, 2000, none, signal);
        if (!found.equals(bytes.subarray(0, 2000))) throw new Error('wrong bytes');
      }
    }
  })();
  for (let turn = 0; turn < 5; turn++) {
    t.equal(await cache.hotFiles.move(digests, 'fast', signal), 30);
    t.equal(filesIn(fast).length, 30);
    t.equal(tierFiles(root).length, 0);
    t.equal(await cache.hotFiles.move(digests, 'fast', signal), 0, 'they are there');
    t.equal(await cache.hotFiles.move([...digests, digestOf(Buffer.of(1))], 'local', signal), 30);
  }
  stop.abort();
  t.ok((await reading) > 0);
  t.equal(tierFiles(root).length, 30);
  await t.rejects(cache.hotFiles.move(digests, 'gold', signal), { code: 'invalid' });
  await until(async () => (await cache.usage()).tiers[1]?.bytes === 29 * 4096 + 3_002_368);
  t.equal((await cache.usage()).tiers[0]?.bytes, 0);
});

t.test('a wrong file is not moved but removed', async (t) => {
  const { root, fast } = places(t);
  const wrong: Digest[] = [];
  const cache = await openCache(t, root, {
    tiers: [fastTier(fast)],
    onWrong: (contents) => void wrong.push(...contents),
  });
  const { content } = await store(cache, randomBytes(5000));
  writeFileSync(cache.pathOf(content), randomBytes(5000));
  t.equal(await cache.hotFiles.move([content], 'fast', signal), 0);
  t.same(wrong, [content]);
  t.notOk(await cache.has(content));
  t.same(readdirSync(join(fast, '.incoming')), []);
});

t.test('files whose records wait are moved and removed as others are', async (t) => {
  const { root, fast } = places(t);
  const cache = await openCache(t, root, { tiers: [fastTier(fast)] });
  const deferral = cache.deferRecords();
  const writer = cache.bulkWriter(cache.hold());
  const spans = [0, 1, 2].map((at) => ({ offset: at * 8192, length: 8192 }));
  const stored = await new FileStore(writer.place).store(randomBytes(3 * 8192), spans);
  const files = stored.map(({ content, allocated }) => ({ content, size: 8192, allocated }));
  const [wrong, good] = files.map(({ content }) => content);
  if (wrong === undefined || good === undefined) throw new Error('no files');
  await writer.reserve(3 * 8192);
  writer.stored(packFiles(files, files.length));
  writer[Symbol.dispose]();
  writeFileSync(cache.pathOf(wrong), randomBytes(8192));
  t.equal(await cache.hotFiles.move([wrong, good], 'fast', signal), 1);
  deferral[Symbol.dispose]();
  const { completeFiles, tiers } = await cache.usage();
  t.equal(completeFiles, 2);
  t.match(tiers, [{ bytes: 8192 }, { bytes: 8192 }]);
});

t.test('a move ends at the quota, and where the sync fails nothing leaves', async (t) => {
  const { root, fast } = places(t);
  const state: { fails: boolean } = { fails: false };
  const disk = {
    ...quickDisk,
    sync: async () => {
      if (state.fails) throw new Error('cannot sync');
    },
  };
  const cache = await openCache(t, root, { tiers: [fastTier(fast, 100_000)], disk });
  const digests: Digest[] = [];
  for (let at = 0; at < 4; at++) digests.push((await store(cache, randomBytes(40_000))).content);
  await t.rejects(cache.hotFiles.move(digests, 'fast', signal), { code: 'no-space' });
  t.equal(filesIn(fast).length, 2);
  t.equal(tierFiles(root).length, 2, 'what was copied before has moved');
  state.fails = true;
  t.equal(await cache.hotFiles.move(digests, 'local', signal), 0);
  t.equal(tierFiles(root).length, 4);
  t.equal(filesIn(fast).length, 2, 'a power cut may take the new ones');
});

t.test('each tier evicts for its own quota', async (t) => {
  const { root, fast } = places(t);
  const first = await FileCache.open(cacheOptions(root, { tiers: [fastTier(fast)] }));
  for (let at = 0; at < 20; at++) {
    await store(first, randomBytes(4096), 'fast');
    await store(first, randomBytes(4096));
  }
  await first[Symbol.asyncDispose]();
  await openCache(t, root, { tiers: [fastTier(fast, 10 * 4096)] });
  await until(() => filesIn(fast).length <= 9);
  t.equal(tierFiles(root).length, 20);
});

t.test('files in two tiers, and files of a tier that was away', async (t) => {
  const { root, fast } = places(t);
  const options = { tiers: [fastTier(fast)] };
  const first = await FileCache.open(cacheOptions(root, options));
  const bytes = randomBytes(5000);
  const moved = await store(first, bytes);
  const other = await store(first, randomBytes(5000), 'fast');
  await first[Symbol.asyncDispose]();
  writeFileSync(tierPath(fast, moved.content), bytes); // as a crash in the middle of a move leaves it
  const second = await FileCache.open(cacheOptions(root, options));
  await until(() =>
    readdirSync(join(fast, '.suspect')).every(
      (name) => readdirSync(join(fast, '.suspect', name)).length === 0,
    ),
  );
  t.notOk(existsSync(tierPath(fast, moved.content)));
  t.ok(await second.has(moved.content));
  await until(async () => (await second.usage()).completeFiles === 2);
  t.equal((await second.usage()).wrongFiles, 0);
  await second[Symbol.asyncDispose]();
  const without = await FileCache.open(cacheOptions(root));
  t.notOk(await without.has(other.content));
  t.match(await without.usage(), { completeFiles: 1, bytes: 8192 });
  await without[Symbol.asyncDispose]();
  const again = await openCache(t, root, options);
  await until(async () => (await again.usage()).completeFiles === 2);
  t.ok(await again.has(other.content));
});

t.test('a tier that fails takes nothing from the local one', async (t) => {
  const { root, fast } = places(t);
  const state: { fails: boolean; breaks: boolean } = { fails: false, breaks: false };
  const check = (path: string) => {
    if (state.fails && path.startsWith(fast)) throw Object.assign(new Error(), { code: 'EIO' });
  };
  const stored: number[] = [];
  const disk: Disk = {
    ...quickDisk,
    exists: async (path) => {
      check(path);
      return await quickDisk.exists(path);
    },
    open: async (path, flags) => {
      check(path);
      return await quickDisk.open(path, flags);
    },
    missing: async (place, contents) => {
      check(place.directory);
      return await quickDisk.missing(place, contents);
    },
    storeAll: async (place, bytes, files) => {
      if (place.others.length > 0) t.fail('another tier is asked by the call of the local disk');
      stored.push(files.length);
      const all = await quickDisk.storeAll(place, bytes, files);
      if (state.breaks) throw Object.assign(new Error(), { code: 'EIO' });
      return all;
    },
  };
  const cache = await openCache(t, root, { tiers: [fastTier(fast)], disk });
  const image = (id: string) => {
    const files = [3000, 3001, 3002, 60_000].map((size) => randomBytes(size));
    return new MemoryOrigin(id, files, 4096, 131_072);
  };
  const origin = image('a');
  const [first, second, third, large] = origin.refs();
  if (!first || !second || !third || !large) throw new Error('four files');
  await store(cache, origin.bytesOf(first), 'fast');
  state.breaks = true;
  await cache.read(second, 0, 10, origin, signal);
  await until(() => existsSync(cache.pathOf(third.content)));
  t.same(stored, [2], 'what another tier has is not stored again');
  await until(() => existsSync(cache.pathOf(large.content)));
  await until(async () => (await cache.usage()).completeFiles === 4);
  t.equal((await cache.usage()).tiers[0]?.bytes, 4096, 'nor counted there');

  Object.assign(state, { fails: true, breaks: false });
  t.ok((await cache.read(third, 0, 3002, none, signal)).equals(origin.bytesOf(third)));
  const pulled = await store(cache, randomBytes(4096));
  t.ok(existsSync(cache.pathOf(pulled.content)), 'and what is pulled is kept there');
  const other = image('b');
  for (const file of other.refs()) {
    await cache.read(file, 0, file.size, other, signal);
    await until(() => existsSync(cache.pathOf(file.content)));
  }
  await until(async () => (await cache.usage()).completeFiles === 9);
});

t.test('a tier is ours alone, or is refused', async (t) => {
  const { root, fast } = places(t);
  const cache = await openCache(t, root, { tiers: [fastTier(fast)] });
  t.ok(cache);
  const otherRoot = join(scratchDirectory(t), 'root');
  await t.rejects(FileCache.open(cacheOptions(otherRoot, { tiers: [fastTier(fast)] })), {
    code: 'busy',
    message: new RegExp(`${fast}: process ${process.pid} uses it`),
  });
  const free = await FileCache.open(cacheOptions(otherRoot));
  await free[Symbol.asyncDispose]();
  const open = join(scratchDirectory(t), 'open');
  mkdirSync(open);
  chmodSync(open, 0o755);
  const refused = (tier: Partial<TierOptions>) =>
    FileCache.open(cacheOptions(otherRoot, { tiers: [{ ...fastTier(fast), ...tier }] }));
  await t.rejects(refused({ directory: open }), { code: 'denied', message: /mode 755/ });
  await t.rejects(refused({ directory: 'here' }), { code: 'invalid' });
  for (const name of ['local', '', '../x', 'A']) {
    await t.rejects(refused({ name }), { code: 'invalid' });
  }
});
