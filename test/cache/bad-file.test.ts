import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Disk } from '../../src/cache/disk.js';
import { FileCache } from '../../src/cache/file-cache.js';
import { cacheLayout } from '../../src/cache/layout.js';
import { readPinFiles, writePinFile } from '../../src/cache/pin-files.js';
import { Scrubber } from '../../src/cache/scrubber.js';
import { Tier } from '../../src/cache/tier.js';
import { TierFiles } from '../../src/cache/tier-files.js';
import { type Digest, digestOf } from '../../src/digest.js';
import {
  cacheOptions,
  openCache,
  quickDisk,
  scratchDirectory,
  signal,
  until,
} from './cache-rig.js';
import { InlineIndex } from './inline-index.js';
import { MemoryOrigin } from './memory-origin.js';
import { metadataOf } from './metadata-of.js';
import { tierFiles } from './tier-listing.js';

const fileCount = 30;
const fileBytes = 4096;

/** A cache that was filled and closed. */
async function filled(root: string): Promise<MemoryOrigin> {
  const files = Array.from({ length: fileCount }, () => randomBytes(fileBytes));
  const origin = new MemoryOrigin('a', files, fileBytes, fileBytes);
  const cache = await FileCache.open(cacheOptions(root));
  for (const file of origin.refs()) await cache.read(file, 0, file.size, origin, signal);
  await cache[Symbol.asyncDispose]();
  const closed = Date.now();
  await until(() => Date.now() > closed + 20); // a change shows in the ctime
  return origin;
}

function first(root: string): { path: string; content: Digest } {
  const [path] = tierFiles(root);
  if (path === undefined) throw new Error('nothing there');
  return { path, content: `sha256:${path.slice(-64)}` as Digest };
}

/** A disk on which one file can be opened and not read, that counts what is open. */
function unreadable(content: Digest): { disk: Disk; open: Set<number> } {
  const open = new Set<number>();
  const bad = new Set<number>();
  const disk: Disk = {
    ...quickDisk,
    open: async (path, flags) => {
      const fd = await quickDisk.open(path, flags);
      open.add(fd);
      if (path.endsWith(content.slice(-64))) bad.add(fd);
      return fd;
    },
    close: (fd) => {
      open.delete(fd);
      bad.delete(fd);
      return quickDisk.close(fd);
    },
    read: async (fd, into, position) => {
      if (!bad.has(fd)) return quickDisk.read(fd, into, position);
      throw Object.assign(new Error('EIO: injected'), { code: 'EIO' });
    },
  };
  return { disk, open };
}

t.test('a file that cannot be removed keeps no other from being evicted', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  await filled(root);
  const stuck = first(root);
  const disk: Disk = {
    ...quickDisk,
    unlink: async (path) => {
      if (path !== stuck.path) return quickDisk.unlink(path);
      throw Object.assign(new Error('EPERM: injected'), { code: 'EPERM' });
    },
  };
  const quotaBytes = 4 * fileBytes;
  const cache = await openCache(t, root, { disk, quotaBytes });
  await until(async () => (await cache.usage()).bytes <= quotaBytes);
  t.ok(existsSync(stuck.path));
  t.match(await cache.gc({ keepImages: [] }), { images: [] });
  t.same(tierFiles(root), [stuck.path], 'garbage collection goes on behind it, too');
});

t.test('a file that cannot be read keeps no other from being verified', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  await filled(root);
  const bad = first(root);
  const wrong = tierFiles(root).at(-1) ?? '';
  const cache = await openCache(t, root, { disk: unreadable(bad.content).disk });
  truncateSync(wrong, 5);
  cache.touch([bad.content, `sha256:${wrong.slice(-64)}` as Digest]);
  await until(() => !existsSync(wrong));
  t.ok(existsSync(bad.path));
});

t.test('nor from being scrubbed', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  await filled(root);
  const layout = cacheLayout(root);
  const index = await InlineIndex.open(layout);
  t.teardown(() => index.stop());
  const later = Date.now() + 1;
  const [oldest] = await index.call('unverified', later, fileCount);
  if (!oldest) throw new Error('nothing there');
  const tiers = layout.tiers.map((tier) => new Tier(unreadable(oldest.content).disk, tier));
  const nobody = { settled: () => undefined, dismissed: () => undefined };
  const failures: unknown[] = [];
  const scrubber = new Scrubber(new TierFiles(tiers, false, nobody), index, {
    idle: () => true,
    wrong: async () => undefined,
    failed: (error) => failures.push(error),
  });
  await until(() => Date.now() >= later); // what is verified from now on is not before it
  await scrubber.scrubOld(later);
  t.match(failures, [{ code: 'EIO' }]);
  const left = await index.call('unverified', later, fileCount);
  t.same(
    left.map(({ content }) => content),
    [oldest.content],
  );
  await scrubber[Symbol.asyncDispose]();
});

t.test('nor from being moved to another tier', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  await filled(root);
  const contents = tierFiles(root).map((path) => `sha256:${path.slice(-64)}` as Digest);
  const fast = { name: 'fast', directory: join(scratchDirectory(t), 'fast'), quotaBytes: 1e9 };
  const { disk, open } = unreadable(first(root).content);
  const tiers = [{ ...fast, freeSpaceFloorBytes: 0 }];
  const cache = await openCache(t, root, { tiers, disk });
  t.equal(await cache.hotFiles.move(contents, 'fast', signal), fileCount - 1);
  t.equal(await cache.hotFiles.tierOf(first(root).content), 'local');
  await cache[Symbol.asyncDispose]();
  t.equal(open.size, 0);
});

t.test('nor from getting its name back, and its descriptors are closed', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const origin = await filled(root);
  const bad = first(root);
  truncateSync(join(root, 'index.db'), 0); // all are set aside
  const { disk, open } = unreadable(bad.content);
  const cache = await FileCache.open(cacheOptions(root, { disk }));
  await until(async () => (await cache.usage()).completeFiles === fileCount - 1);
  const file = origin.refs().find(({ content }) => content === bad.content);
  if (!file) throw new Error('no such file');
  const read = () => cache.read(file, 0, file.size, origin, signal);
  for (let times = 0; times < 3; times++) await read().catch(() => undefined);
  await cache[Symbol.asyncDispose]();
  t.equal(open.size, 0);
});

t.test('a link in the place of a partial file does not keep the cache closed', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  await filled(root);
  const name = 'ab'.repeat(32);
  symlinkSync('/nowhere', join(root, 'partial', name));
  await openCache(t, root);
  t.same(readdirSync(join(root, 'partial')), []);
});

t.test('a pin list whose writer was killed counts for nothing', (t) => {
  const folder = scratchDirectory(t);
  const directory = join(folder, 'pinned');
  mkdirSync(directory);
  const files = [{ content: digestOf(Buffer.from('a')), size: 1 }];
  writePinFile(directory, 'whole', metadataOf(folder, files));
  const torn = `thinfs pinned files 1\n"torn"\n${'ab'.repeat(32)} 7\n`; // of two lines, say
  writeFileSync(join(directory, `${'cd'.repeat(32)}.new`), torn);
  const read = readPinFiles(directory);
  t.same(
    read.map((pinned) => [pinned.image, pinned.files()]),
    [['whole', files]],
  );
  t.equal(readdirSync(directory).length, 1);
  t.end();
});
