import { randomBytes } from 'node:crypto';
import {
  appendFileSync,
  cpSync,
  existsSync,
  readFileSync,
  renameSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { nodeDisk } from '../../src/cache/disk.js';
import { FileCache } from '../../src/cache/file-cache.js';
import { cacheLayout, tierDirectory, tierPath } from '../../src/cache/layout.js';
import type { Digest } from '../../src/digest.js';
import { cacheOptions, openCache, scratchDirectory, signal, until } from './cache-rig.js';
import { FaultyDisk } from './faulty-disk.js';
import { MemoryOrigin } from './memory-origin.js';
import { partialFiles, tierFiles, wrongTierFiles } from './tier-listing.js';

const files = [...Array.from({ length: 50 }, () => randomBytes(777)), randomBytes(90_000)];

async function filled(root: string): Promise<MemoryOrigin> {
  const origin = new MemoryOrigin('a', files, 4096, 16_384);
  const cache = await FileCache.open(cacheOptions(root));
  for (const file of origin.refs()) await cache.read(file, 0, file.size, origin, signal);
  await cache[Symbol.asyncDispose]();
  // A change in the same tick of the kernel's clock as the end, 10 ms at most, would not show.
  const closed = Date.now();
  await until(() => Date.now() > closed + 20);
  return origin;
}

t.test('closed in order: everything is there, nothing is looked through', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const origin = await filled(root);
  const options = cacheOptions(root);
  const cache = await FileCache.open(options);
  t.teardown(() => cache[Symbol.asyncDispose]());
  t.same(options.lines, []);
  origin.fetched.length = 0;
  for (const file of origin.refs()) await cache.read(file, 0, file.size, origin, signal);
  t.equal(origin.fetched.length, 0);
  t.match(await cache.usage(), { completeFiles: 51, partialFiles: 0 });
});

t.test('without its index the cache is the same after looking at every file', async (t) => {
  for (const how of ['missing', 'garbage', 'of a newer version'] as const) {
    const root = join(scratchDirectory(t), 'root');
    const origin = await filled(root);
    const [first, second] = tierFiles(root).filter((path) => statSync(path).size === 777);
    if (first === undefined || second === undefined) throw new Error('nothing there');
    truncateSync(first, 10);
    appendFileSync(second, 'x');
    const index = join(root, 'index.db');
    if (how === 'missing') truncateSync(index, 0);
    else if (how === 'garbage') writeFileSync(index, randomBytes(10_000));
    else {
      const bytes = readFileSync(index);
      bytes.writeUInt32BE(999, 60); // user_version, https://sqlite.org/fileformat2.html
      writeFileSync(index, bytes);
    }
    const cache = await openCache(t, root);
    origin.fetched.length = 0;
    for (const file of origin.refs()) {
      const bytes = await cache.read(file, 0, file.size, origin, signal);
      t.ok(bytes.equals(origin.bytesOf(file)));
    }
    t.ok(origin.fetched.length <= 2, 'only what was damaged is fetched');
    await until(async () => (await cache.usage()).completeFiles === 51);
    t.same(wrongTierFiles(root), []);
  }
});

t.test('what is done behind our back while stopped is found before anybody reads it', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const origin = await filled(root);
  for (const [at, path] of tierFiles(root).entries()) {
    const bytes = readFileSync(path);
    if (at % 3 === 0) bytes.writeUInt8(bytes.readUInt8(500) ^ 4, 500);
    if (at % 3 !== 1) writeFileSync(path, at % 3 === 0 ? bytes : bytes.subarray(0, 400));
  }
  const damaged = wrongTierFiles(root).length;
  t.ok(damaged > 30);
  const wrong: Digest[] = [];
  const cache = await openCache(t, root, { onWrong: (contents) => void wrong.push(...contents) });
  t.same(wrongTierFiles(root), [], 'the kernel finds none of them');
  for (const file of origin.refs()) {
    const bytes = await cache.read(file, 0, file.size, origin, signal);
    t.ok(bytes.equals(origin.bytesOf(file)));
  }
  t.same(wrongTierFiles(root), [], 'healed');
  await until(() => new Set(wrong).size === damaged); // each is told
  t.equal((await cache.usage()).wrongFiles, damaged);
});

t.test('a large file is verified chunk by chunk as it is read, and healed', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const origin = new MemoryOrigin('a', [randomBytes(3_000_000)], 65_536, 262_144);
  const [file] = origin.refs();
  if (file === undefined) throw new Error('no file');
  const first = await FileCache.open(cacheOptions(root));
  await first.read(file, 0, file.size, origin, signal);
  await first[Symbol.asyncDispose]();
  const path = tierPath(tierDirectory(root, 'local'), file.content);
  const cache = await openCache(t, root);
  const bytes = readFileSync(path);
  bytes.writeUInt8(bytes.readUInt8(2_000_000) ^ 1, 2_000_000);
  writeFileSync(path, bytes);
  origin.fetched.length = 0;
  const good = await cache.read(file, 100_000, 50_000, origin, signal);
  t.ok(good.equals(origin.bytesOf(file).subarray(100_000, 150_000)));
  t.equal(origin.fetched.length, 0, 'the wrong chunk is not met yet');
  const healed = await cache.read(file, 1_999_000, 2000, origin, signal);
  t.ok(healed.equals(origin.bytesOf(file).subarray(1_999_000, 2_001_000)));
  const all = await cache.read(file, 0, file.size, origin, signal);
  t.ok(all.equals(origin.bytesOf(file)));
  t.equal((await cache.usage()).wrongFiles, 1);
});

t.test('a large file that was cut, or has grown, is fetched again', async (t) => {
  for (const change of ['cut', 'grown']) {
    const root = join(scratchDirectory(t), 'root');
    const origin = new MemoryOrigin('a', [randomBytes(2_000_000)], 65_536, 262_144);
    const [file] = origin.refs();
    if (file === undefined) throw new Error('no file');
    const first = await FileCache.open(cacheOptions(root));
    await first.read(file, 0, file.size, origin, signal);
    await first[Symbol.asyncDispose]();
    const path = tierPath(tierDirectory(root, 'local'), file.content);
    if (change === 'cut') truncateSync(path, 1_500_000);
    else appendFileSync(path, 'more');
    const cache = await openCache(t, root);
    const bytes = await cache.read(file, 1000, 10_000, origin, signal);
    t.ok(bytes.equals(origin.bytesOf(file).subarray(1000, 11_000)));
    const all = await cache.read(file, 0, file.size, origin, signal);
    t.ok(all.equals(origin.bytesOf(file)));
  }
});

t.test('a partial file with all its chunks is promoted when it is found', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const disk = new FaultyDisk();
  const origin = new MemoryOrigin('a', [randomBytes(200_000)], 4096, 16_384);
  const [file] = origin.refs();
  if (file === undefined) throw new Error('no file');
  const first = await FileCache.open(cacheOptions(root, { disk }));
  disk.faults.set('rename', 'EIO');
  await first.read(file, 0, file.size, origin, signal);
  await first[Symbol.asyncDispose]();
  t.same(tierFiles(root), []);
  disk.faults.clear();
  const cache = await openCache(t, root, { disk });
  origin.fetched.length = 0;
  const bytes = await cache.read(file, 70_000, 10, origin, signal);
  t.ok(bytes.equals(origin.bytesOf(file).subarray(70_000, 70_010)));
  await until(async () => (await cache.usage()).completeFiles === 1);
  t.equal(origin.fetched.length, 0);
});

t.test('chunks of a partial file outlive the process, and are verified before use', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const origin = new MemoryOrigin('a', [randomBytes(400_000)], 4096, 16_384);
  const [file] = origin.refs();
  if (file === undefined) throw new Error('no file');
  const first = await FileCache.open(cacheOptions(root));
  await first.read(file, 0, 100_000, origin, signal);
  await first[Symbol.asyncDispose]();
  const [partial] = partialFiles(root);
  if (partial === undefined) throw new Error('no partial file');
  const bytes = readFileSync(partial);
  bytes.writeUInt8(bytes.readUInt8(50_000) ^ 1, 50_000);
  bytes.fill(0xff, bytes.length - 64 - 10, bytes.length - 64); // says that the end is there, too
  writeFileSync(partial, bytes);
  const cache = await openCache(t, root);
  t.match(await cache.usage(), { completeFiles: 0, partialFiles: 1 });
  origin.fetched.length = 0;
  const again = await cache.read(file, 0, 100_000, origin, signal);
  t.ok(again.equals(origin.bytesOf(file).subarray(0, 100_000)));
  t.equal(origin.fetched.length, 1, 'the frame of the changed chunk');
  const all = await cache.read(file, 0, file.size, origin, signal);
  t.ok(all.equals(origin.bytesOf(file)));
  await until(async () => (await cache.usage()).completeFiles === 1);
  t.match(await cache.usage(), { partialFiles: 0 });
  t.same(partialFiles(root), []);
});

t.test('after a kill nothing torn has a name, and strangers are swept out', async (t) => {
  const directory = scratchDirectory(t);
  const root = join(directory, 'root');
  const origin = new MemoryOrigin('a', files, 4096, 16_384);
  const cache = await openCache(t, root);
  for (const file of origin.refs()) await cache.read(file, 0, file.size, origin, signal);
  await until(async () => (await cache.usage()).completeFiles === 51);
  const copy = join(directory, 'copy');
  cpSync(root, copy, { recursive: true });
  const layout = cacheLayout(copy);
  const tier = tierDirectory(copy, 'local');
  writeFileSync(join(tier, '.incoming', '1-1'), 'half');
  writeFileSync(join(tier, '00', 'notes'), 'x');
  writeFileSync(join(layout.partial, 'ab'.repeat(32)), 'x');
  const torn = tierFiles(copy).filter((path) => /[0-9a-f]{64}$/.test(path));
  for (const path of torn.slice(0, 10)) truncateSync(path, 0);
  const next = await openCache(t, copy);
  t.same(wrongTierFiles(copy), [], 'at once');
  await until(async () => (await next.usage()).completeFiles === 41);
  t.notOk(existsSync(join(tier, '.incoming', '1-1')));
  t.notOk(existsSync(join(tier, '00', 'notes')));
  t.same(partialFiles(copy), []);
});

t.test('the scrub finds what nobody has read', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const origin = await filled(root);
  const cache = await openCache(t, root);
  for (const file of origin.refs()) await cache.read(file, 0, file.size, origin, signal);
  const [first, second, third] = tierFiles(root);
  if (first === undefined || second === undefined || third === undefined) throw new Error('few');
  writeFileSync(first, readFileSync(second));
  const result = await cache.verify(signal);
  t.match(result, { files: 51, wrong: [`sha256:${first.slice(-64)}`] });
  t.notOk(existsSync(first));
  t.match(await cache.verify(signal), { files: 50, wrong: [] });
});

t.test('a wrong file that a FUSE worker has opened is removed behind it', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const origin = await filled(root);
  const [path] = tierFiles(root);
  if (path === undefined) throw new Error('nothing there');
  truncateSync(path, 5);
  const cache = await openCache(t, root);
  cache.touch(origin.refs().map(({ content }) => content));
  await until(() => !existsSync(path));
  await until(async () => (await cache.usage()).completeFiles === 50);
});

t.test('partial files that came or went while stopped are known', async (t) => {
  const directory = scratchDirectory(t);
  const root = join(directory, 'root');
  const origin = new MemoryOrigin('a', [randomBytes(200_000), randomBytes(200_000)], 4096, 8192);
  const [one, two] = origin.refs();
  if (one === undefined || two === undefined) throw new Error('no files');
  const first = await FileCache.open(cacheOptions(root));
  await first.read(one, 0, 50_000, origin, signal);
  await first[Symbol.asyncDispose]();
  const [path] = partialFiles(root);
  if (path === undefined) throw new Error('no partial file');
  const away = join(directory, 'away');
  renameSync(path, away);
  const second = await FileCache.open(cacheOptions(root));
  t.match(await second.usage(), { partialFiles: 0, bytes: 0 });
  await second[Symbol.asyncDispose]();
  renameSync(away, path);
  const third = await openCache(t, root);
  t.match(await third.usage(), { partialFiles: 1 });
  origin.fetched.length = 0;
  await third.read(one, 0, 40_000, origin, signal);
  t.equal(origin.fetched.length, 0);
});

t.test(
  'after a kill files are trusted that no sync has reached, after a power cut not',
  async (t) => {
    const directory = scratchDirectory(t);
    const root = join(directory, 'root');
    const disk = {
      ...nodeDisk,
      sync: async () => {
        throw new Error('cannot sync');
      },
    };
    const origin = new MemoryOrigin('a', files, 4096, 16_384);
    const first = await FileCache.open(cacheOptions(root, { disk }));
    for (const file of origin.refs()) await first.read(file, 0, file.size, origin, signal);
    await first[Symbol.asyncDispose]();
    const options = cacheOptions(root, { disk });
    const second = await FileCache.open(options);
    t.notOk(options.lines.some(({ message }) => /verifying/.test(message)));
    t.equal(tierFiles(root).length, 51);
    await second[Symbol.asyncDispose]();
    const elsewhere = join(directory, 'elsewhere');
    renameSync(root, elsewhere);
    const others = cacheOptions(elsewhere, { disk });
    const third = await FileCache.open(others);
    t.teardown(() => third[Symbol.asyncDispose]());
    t.match(others.lines, [{ details: { state: 'unclean' }, message: /verifying/ }]);
    await until(async () => (await third.usage()).completeFiles === 51);
  },
);
