import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { copyFileSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { nodeDisk } from '../../src/cache/disk.js';
import { IndexThread } from '../../src/cache/index-thread.js';
import { openCache, scratchDirectory, signal, until } from './cache-rig.js';
import { MemoryOrigin } from './memory-origin.js';
import { metadataOf } from './metadata-of.js';
import { tierFiles, wrongTierFiles } from './tier-listing.js';

/** Mounts an ext4 image until the test ends. */
function mounted(t: Test, image: string): string {
  const directory = `${image}.mounted`;
  mkdirSync(directory);
  execFileSync('mount', ['-o', 'loop', image, directory]);
  t.teardown(() => execFileSync('umount', ['-l', directory]));
  return join(directory, 'root');
}

/*
 * A real ext4 with a journal on a loop device. What a power cut leaves is what has reached the
 * device: the image file, copied while the file system is in use.
 */
t.test('what is pinned outlives a power cut, and nothing else is taken on trust', async (t) => {
  const directory = scratchDirectory(t);
  const image = join(directory, 'before');
  writeFileSync(image, '');
  truncateSync(image, 200 * 1024 * 1024);
  execFileSync('mkfs.ext4', ['-q', '-F', image]);
  const root = mounted(t, image);
  const real = { disk: nodeDisk, openIndex: IndexThread.open };
  const files = (count: number) => Array.from({ length: count }, () => randomBytes(30_000));
  const pinned = new MemoryOrigin('pinned', files(100), 65_536, 262_144);
  const fresh = new MemoryOrigin('fresh', files(300), 65_536, 262_144);
  const large = new MemoryOrigin('large', [randomBytes(4_000_000)], 65_536, 262_144);

  const cache = await openCache(t, root, real);
  for (const file of pinned.refs()) await cache.read(file, 0, file.size, pinned, signal);
  await until(async () => (await cache.usage()).completeFiles === 100);
  await cache.pinImage('image', pinned.refs(), metadataOf(root, pinned.refs()));
  for (const file of fresh.refs()) await cache.read(file, 0, file.size, fresh, signal);
  for (const file of large.refs()) await cache.read(file, 0, 3_000_000, large, signal);
  await cache.usage();
  const after = join(directory, 'after');
  copyFileSync(image, after);
  await cache[Symbol.asyncDispose]();

  const next = mounted(t, after);
  t.ok(tierFiles(next).length >= 100);
  const again = await openCache(t, next, real);
  t.same(wrongTierFiles(next), [], 'nothing torn has a final name, from the start');
  for (const file of pinned.refs()) {
    t.ok(readFileSync(again.pathOf(file.content)).equals(pinned.bytesOf(file)));
  }
  t.match((await again.usage()).images, [{ image: 'image', pinned: true, completeFiles: 100 }]);
  for (const origin of [fresh, large]) {
    for (const file of origin.refs()) {
      const bytes = await again.read(file, 0, file.size, origin, signal);
      t.ok(bytes.equals(origin.bytesOf(file)));
    }
  }
  t.same(wrongTierFiles(next), []);
});

t.test('a sync that fails is told', async (t) => {
  await nodeDisk.sync(scratchDirectory(t));
  await t.rejects(nodeDisk.sync('/nowhere/at/all'));
});
