import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { nodeDisk } from '../../src/cache/disk.js';
import { FileCache } from '../../src/cache/file-cache.js';
import { PartialFiles } from '../../src/cache/partial-files.js';
import type { PartialView } from '../../src/cache/partial-view.js';
import { SharedBitmap } from '../../src/cache/shared-bitmap.js';
import { cacheOptions, openCache, scratchDirectory, signal, until } from './cache-rig.js';
import { MemoryOrigin } from './memory-origin.js';

const chunkBytes = 4096;

function isSet({ verified }: PartialView, index: number): boolean {
  return ((Atomics.load(verified, index >> 5) >> (index & 31)) & 1) === 1;
}

function countSet(view: PartialView): number {
  const indexes = Array.from({ length: view.starts.length - 1 }, (_, index) => index);
  return indexes.filter((index) => isSet(view, index)).length;
}

t.test('bits in shared memory', async (t) => {
  const bits = new SharedBitmap(70);
  for (const at of [0, 31, 32, 69, 69]) bits.set(at);
  t.same(
    [0, 1, 31, 32, 63, 64, 69].map((at) => bits.has(at)),
    [true, false, true, true, false, false, true],
  );
  t.ok(bits.hasAll(31, 32));
  t.notOk(bits.hasAll(31, 33));
  for (let at = 0; at < 69; at++) bits.set(at);
  t.equal(bits.words.length, 3);
  t.ok(bits.full, 'counted once each');
});

t.test('another thread sees which chunks may be read, until the file is complete', async (t) => {
  const ended: PartialView[] = [];
  const origin = new MemoryOrigin('a', [randomBytes(200_000)], chunkBytes, 4 * chunkBytes);
  const cache = await openCache(t, join(scratchDirectory(t), 'root'), {
    onPartialEnd: (view) => void ended.push(view),
  });
  const [file] = origin.refs();
  if (file === undefined) throw new Error('no file');
  t.equal(cache.partialView(file, origin), undefined, 'there is none yet');
  await cache.read(file, 50_000, 10, origin, signal);
  await until(() => cache.partialView(file, origin) !== undefined);
  const view = cache.partialView(file, origin);
  if (view === undefined) throw new Error('no view');
  t.match(view, { content: file.content, size: file.size });
  t.equal(view.starts.length, Math.ceil(200_000 / chunkBytes) + 1);
  t.equal(view.starts.at(-1), 200_000);
  t.ok(view.starts.buffer instanceof SharedArrayBuffer);
  await until(() => countSet(view) === 4);
  const index = Math.floor(50_000 / chunkBytes);
  t.ok(isSet(view, index));
  const fd = openSync(view.path, 'r');
  t.teardown(() => closeSync(fd));
  t.equal(Atomics.load(view.named, 0), 1);
  const bytes = Buffer.alloc(chunkBytes);
  readSync(fd, bytes, 0, chunkBytes, view.starts[index] ?? 0);
  t.ok(bytes.equals(origin.bytesOf(file).subarray(index * chunkBytes, (index + 1) * chunkBytes)));
  await cache.read(file, 0, file.size, origin, signal);
  await until(() => ended.length === 1);
  t.same(ended, [view]);
  t.equal(Atomics.load(view.named, 0), 0, 'the path is another file from now on');
  const all = Buffer.alloc(file.size);
  readSync(fd, all, 0, all.length, 0);
  t.ok(all.equals(origin.bytesOf(file)), 'the descriptor stays good');
  t.equal(countSet(view), view.starts.length - 1);
});

t.test('chunks of an earlier process are shown when they were verified', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const origin = new MemoryOrigin('a', [randomBytes(200_000)], chunkBytes, chunkBytes);
  const [file] = origin.refs();
  if (file === undefined) throw new Error('no file');
  const first = await FileCache.open(cacheOptions(root));
  await first.read(file, 0, 10 * chunkBytes, origin, signal);
  await first[Symbol.asyncDispose]();
  const cache = await openCache(t, root);
  await cache.read(file, 0, chunkBytes, origin, signal);
  const view = cache.partialView(file, origin);
  if (view === undefined) throw new Error('no view');
  t.equal(countSet(view), 1);
  await cache.read(file, 0, 3 * chunkBytes, origin, signal);
  t.equal(countSet(view), 3);
});

t.test('two images that tell different chunks of one content: each is shown its own', async (t) => {
  const bytes = randomBytes(200_000);
  const cache = await openCache(t, join(scratchDirectory(t), 'root'));
  const origins = [4096, 8192].map(
    (chunk) => new MemoryOrigin(String(chunk), [bytes], chunk, chunk),
  );
  const [file] = origins[0]?.refs() ?? [];
  if (file === undefined) throw new Error('no file');
  for (const [at, origin] of origins.entries()) {
    t.equal(cache.partialView(file, origin), undefined, 'what the other has is not for it');
    await cache.read(file, 100_000, 10, origin, signal);
    await until(async () => (await cache.usage()).partialFiles === at + 1);
  }
  const [first, second] = origins.map((origin) => cache.partialView(file, origin));
  t.not(first?.path, second?.path);
  t.strictSame([first?.starts.length, second?.starts.length], [50, 26]);
});

t.test('what nobody uses is closed after a while, and its chunk list forgotten', async (t) => {
  const ended: PartialView[] = [];
  const directory = scratchDirectory(t);
  const origin = new MemoryOrigin('a', [randomBytes(200_000), randomBytes(99_000)], 4096, 8192);
  const partials = new PartialFiles(nodeDisk, directory, {
    onPartialEnd: (view) => void ended.push(view),
  });
  t.teardown(() => partials.close());
  const [one, two] = origin.refs();
  if (one === undefined || two === undefined) throw new Error('no files');
  for (const file of [one, two]) {
    const chunked = partials.describe(file, origin);
    if (chunked === undefined) throw new Error('no chunks');
    await partials.open(chunked);
    t.ok(partials.view(file, origin));
  }
  partials.dropUnused();
  t.same(ended, [], 'they were used before');
  t.ok(partials.opened(one, origin), 'one is used now');
  partials.dropUnused();
  t.match(ended, [{ content: two.content }]);
  t.ok(partials.opened(one, origin));
  partials.dropUnused();
  partials.dropUnused();
  partials.dropUnused();
  t.equal(ended.length, 2);
  t.notOk(partials.opened(one, origin));
});
