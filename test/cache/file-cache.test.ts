import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { FileCache } from '../../src/cache/file-cache.js';
import { IndexThread } from '../../src/cache/index-thread.js';
import { tierDirectory, tierPath } from '../../src/cache/layout.js';
import { digestOf } from '../../src/digest.js';
import { ThinError } from '../../src/errors.js';
import { cacheOptions, openCache, scratchDirectory, signal, until } from './cache-rig.js';
import { MemoryOrigin } from './memory-origin.js';

const sizes = [1, 100, 3000, 100_000, 40_001, 8192];
const someFiles = sizes.map((size) => randomBytes(size));

t.test('files come from the origin once, and lie complete in the tier', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const origin = new MemoryOrigin('a', someFiles, 4096, 16_384);
  const cache = await openCache(t, root, { openIndex: IndexThread.open });
  for (const file of origin.refs()) {
    const bytes = await cache.read(file, 0, file.size + 10, origin, signal);
    t.ok(bytes.equals(origin.bytesOf(file)), `file of ${file.size} bytes`);
  }
  await until(async () => (await cache.usage()).completeFiles === sizes.length);
  for (const file of origin.refs()) {
    const path = tierPath(tierDirectory(root, 'local'), file.content);
    t.equal(path, cache.pathOf(file.content));
    t.ok(readFileSync(path).equals(origin.bytesOf(file)));
    t.equal(statSync(path).mode & 0o777, 0o644);
    t.ok(await cache.has(file.content));
  }
  t.equal(statSync(root).mode & 0o777, 0o700);
  t.equal(origin.fetched.length, new Set(origin.fetched).size, 'each frame is fetched once');
  const usage = await cache.usage();
  t.match(usage, { completeFiles: sizes.length, partialFiles: 0, wrongFiles: 0, diskWorks: true });
});

t.test('any range is answered, across chunks and frames and from the end', async (t) => {
  const origin = new MemoryOrigin('a', someFiles, 1000, 5000);
  const cache = await openCache(t, join(scratchDirectory(t), 'root'));
  const [big] = origin.refs().filter(({ size }) => size === 100_000);
  if (big === undefined) throw new Error('no big file');
  const bytes = origin.bytesOf(big);
  for (const [offset, length] of [
    [0, 1],
    [99_999, 1],
    [99_999, 500],
    [100_000, 5],
    [200_000, 5],
    [999, 2],
    [4999, 6003],
    [50_500, 100],
    [0, 0],
    [0, 100_000],
  ] as const) {
    const found = await cache.read(big, offset, length, origin, signal);
    t.ok(found.equals(bytes.subarray(offset, offset + length)), `${length} bytes at ${offset}`);
  }
});

t.test('what a frame brings besides is kept, and read without the origin', async (t) => {
  const files = Array.from({ length: 20 }, (_, at) => randomBytes(100 + at));
  const origin = new MemoryOrigin('a', files, 4096, 1_000_000);
  const cache = await openCache(t, join(scratchDirectory(t), 'root'));
  const [first, ...others] = origin.refs();
  if (first === undefined) throw new Error('no file');
  await cache.read(first, 0, 10, origin, signal);
  await until(async () => (await cache.usage()).completeFiles === files.length);
  for (const file of others) {
    const bytes = await cache.read(file, 0, file.size, origin, signal);
    t.ok(bytes.equals(origin.bytesOf(file)));
  }
  t.equal(origin.fetched.length, 1);
});

t.test('reads of one frame at the same moment fetch and verify it once', async (t) => {
  const origin = new MemoryOrigin('a', [randomBytes(64_000)], 4000, 16_000);
  const cache = await openCache(t, join(scratchDirectory(t), 'root'));
  const [file] = origin.refs();
  if (file === undefined) throw new Error('no file');
  const bytes = origin.bytesOf(file);
  const reads = Array.from({ length: 64 }, async (_, at) => {
    const found = await cache.read(file, at * 1000, 1000, origin, signal);
    return found.equals(bytes.subarray(at * 1000, at * 1000 + 1000));
  });
  t.ok((await Promise.all(reads)).every(Boolean));
  t.equal(origin.fetched.length, 4);
});

t.test('a chunk that another file here has is copied, not fetched', async (t) => {
  const shared = randomBytes(50_000);
  const before = new MemoryOrigin('1', [Buffer.concat([shared, randomBytes(999)])], 1000, 4000);
  const after = new MemoryOrigin('2', [Buffer.concat([shared, randomBytes(999)])], 1000, 4000);
  const cache = await openCache(t, join(scratchDirectory(t), 'root'));
  for (const [at, origin] of [before, after].entries()) {
    const [file] = origin.refs();
    if (file === undefined) throw new Error('no file');
    const bytes = await cache.read(file, 0, file.size, origin, signal);
    t.ok(bytes.equals(origin.bytesOf(file)));
    await until(async () => (await cache.usage()).completeFiles === at + 1); // in the index too
  }
  t.equal(before.fetched.length, 13);
  t.equal(after.fetched.length, 1, 'the frame of the last, changed chunk');
});

t.test(
  'the origin is asked a second time where a frame is wrong, then the read fails',
  async (t) => {
    const origin = new MemoryOrigin('a', [randomBytes(5000)], 1000, 10_000);
    const cache = await openCache(t, join(scratchDirectory(t), 'root'));
    const [file] = origin.refs();
    if (file === undefined) throw new Error('no file');
    origin.tamper = (bytes) => {
      bytes.writeUInt8(bytes.readUInt8(2500) ^ 1, 2500);
      return bytes;
    };
    await t.rejects(cache.read(file, 0, 5000, origin, signal), { code: 'corrupt' });
    t.equal(origin.fetched.length, 2);
    const good = await cache.read(file, 0, 1000, origin, signal);
    t.ok(good.equals(origin.bytesOf(file).subarray(0, 1000)), 'the sound chunks are of use');
    origin.tamper = (bytes) => (origin.fetched.length < 4 ? bytes.fill(0) : bytes);
    const all = await cache.read(file, 0, 5000, origin, signal);
    t.ok(all.equals(origin.bytesOf(file)), 'and another try gets the rest');
    t.ok((await cache.usage()).wrongFrames >= 3);
  },
);

t.test('frames that are too short or too long are wrong', async (t) => {
  for (const change of [
    (bytes: Buffer) => bytes.subarray(1),
    (bytes: Buffer) => bytes.subarray(0, bytes.length - 1),
    () => Buffer.alloc(0),
  ]) {
    const origin = new MemoryOrigin('a', [randomBytes(3000)], 1000, 10_000);
    const cache = await openCache(t, join(scratchDirectory(t), 'root'));
    const [file] = origin.refs();
    if (file === undefined) throw new Error('no file');
    origin.tamper = change;
    await t.rejects(cache.read(file, 0, 3000, origin, signal), { code: 'corrupt' });
  }
});

t.test('what the origin throws reaches the reader, and the next read tries again', async (t) => {
  const origin = new MemoryOrigin('a', [randomBytes(5000)], 1000, 10_000);
  const cache = await openCache(t, join(scratchDirectory(t), 'root'));
  const [file] = origin.refs();
  if (file === undefined) throw new Error('no file');
  origin.tamper = () => {
    throw new ThinError('unavailable', 'Cannot fetch: the cable is out');
  };
  await t.rejects(cache.read(file, 0, 10, origin, signal), { code: 'unavailable' });
  origin.tamper = (bytes) => bytes;
  t.equal((await cache.read(file, 0, 10, origin, signal)).length, 10);
});

t.test('a reader that gives up leaves the others be; the last one ends the fetch', async (t) => {
  const origin = new MemoryOrigin('a', [randomBytes(5000)], 1000, 10_000);
  const cache = await openCache(t, join(scratchDirectory(t), 'root'));
  const [file] = origin.refs();
  if (file === undefined) throw new Error('no file');
  let release: () => void = () => undefined;
  let aborted = false;
  let joined = 0; // who asks what is nearer waits for the frame in the same breath
  const nearer = () => {
    joined += 1;
    return undefined;
  };
  Object.assign(origin, { nearer });
  origin.tamper = (bytes, _frame, fetchSignal) =>
    new Promise((resolve, reject) => {
      release = () => resolve(bytes);
      fetchSignal.addEventListener('abort', () => {
        aborted = true;
        reject(new ThinError('canceled', 'Cannot fetch: canceled'));
      });
    });
  const gone = new AbortController();
  const first = cache.read(file, 0, 10, origin, gone.signal);
  const second = cache.read(file, 0, 10, origin, signal);
  await until(() => joined === 2);
  t.equal(origin.fetched.length, 1);
  gone.abort();
  await t.rejects(first, { code: 'canceled' });
  t.notOk(aborted);
  release();
  t.equal((await second).length, 10);

  const other = new MemoryOrigin('b', [randomBytes(5000)], 1000, 10_000);
  other.tamper = origin.tamper;
  const [otherFile] = other.refs();
  if (otherFile === undefined) throw new Error('no file');
  const last = new AbortController();
  const third = cache.read(otherFile, 0, 10, other, last.signal);
  await until(() => other.fetched.length === 1);
  last.abort();
  await t.rejects(third, { code: 'canceled' });
  t.ok(aborted);
});

t.test('a file of no image with a thin form, that is not here, says what to do', async (t) => {
  const origin = new MemoryOrigin('a', [], 1000, 10_000);
  const cache = await openCache(t, join(scratchDirectory(t), 'root'));
  const file = { content: digestOf(Buffer.from('x')), size: 1 };
  await t.rejects(cache.read(file, 0, 1, origin, signal), {
    code: 'not-found',
    message: /pull the image again/,
  });
});

t.test('a root has one daemon; the second one is told which', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const first = await FileCache.open(cacheOptions(root));
  await t.rejects(FileCache.open(cacheOptions(root)), {
    code: 'busy',
    message: new RegExp(`process ${process.pid} uses it`),
  });
  await first[Symbol.asyncDispose]();
  await first[Symbol.asyncDispose]();
  const second = await FileCache.open(cacheOptions(root));
  await second[Symbol.asyncDispose]();
  const origin = new MemoryOrigin('a', someFiles, 1000, 10_000);
  const [file] = origin.refs();
  if (file === undefined) throw new Error('no file');
  await t.rejects(second.read(file, 0, 1, origin, signal), { code: 'canceled' });
});

t.test('a root that others may write to is refused', async (t) => {
  const directory = scratchDirectory(t);
  const real = join(directory, 'real');
  mkdirSync(real, { mode: 0o700 });
  symlinkSync(real, join(directory, 'link'));
  await t.rejects(FileCache.open(cacheOptions(join(directory, 'link'))), { code: 'invalid' });
  chmodSync(real, 0o755);
  await t.rejects(FileCache.open(cacheOptions(real)), { code: 'denied', message: /mode 755/ });
  t.notOk(existsSync(join(real, 'index.db')));
});
