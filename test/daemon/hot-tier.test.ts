import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import type { HotFiles } from '../../src/cache/hot-files.js';
import { HotTier } from '../../src/daemon/hot-tier.js';
import { ImageFolder } from '../../src/daemon/image-folder.js';
import { digestOf } from '../../src/digest.js';
import { ThinError } from '../../src/errors.js';
import { HotFolder } from '../../src/hot/hot-folder.js';
import { openCache, scratchDirectory } from '../cache/cache-rig.js';
import { until } from '../cli/test-node.js';

/** A node with one file, which an image needs at its start. */
async function rig(t: Test) {
  const folder = scratchDirectory(t);
  const root = join(folder, 'node');
  const cache = await openCache(t, join(folder, 'cache'), {
    tiers: [
      { name: 'fast', directory: join(folder, 'fast'), quotaBytes: 1e9, freeSpaceFloorBytes: 0 },
    ],
  });
  using hold = cache.hold();
  const writer = cache.fileWriter(hold);
  await writer.write(randomBytes(5000));
  const { content, size } = await writer.commit();

  const manifest = digestOf(Buffer.from('manifest'));
  const images = await ImageFolder.open(root, (error) => t.fail(error.message));
  const image = { kind: 'thin' as const, platform: 'linux/amd64', references: [], sources: [] };
  const counts = { fileBytes: size, files: 1, lastUsed: 0 };
  const none = { config: Buffer.alloc(0), metadata: Buffer.alloc(0) };
  await images.add({ ...image, ...counts, manifest }, none, { synced: false });
  const hot = new HotFolder(root);
  const touch = { content, size, offset: 0, length: size, milliseconds: 1 };
  const { platform } = image;
  await hot.add({ image: manifest, platform, args: ['program'] }, { touches: [touch] });

  const open = async (onMoved: (tier: HotTier) => Promise<void>) => {
    const tier: HotTier = await HotTier.open({
      ...{ root, cache, images, hot, quotaBytes: 1e9 },
      live: { get: () => Promise.reject(new Error('nothing is mounted')) },
      mounted: () => [],
      starting: () => false,
      onMoved: () => onMoved(tier),
      log: pino({ level: 'silent' }),
    });
    t.teardown(() => tier[Symbol.asyncDispose]());
    return tier;
  };
  return { cache, content, open };
}

t.test('what a user says while files are being moved counts', async (t) => {
  const { cache, content, open } = await rig(t);
  let moves = 0;
  const tier = await open(async (tier) => {
    if (++moves === 1) await tier.setLimit(0);
  });
  await until('the file has moved', () => moves === 1);
  await until('it leaves', async () => (await cache.hotFiles.tierOf(content)) === 'local');
  t.match((await tier.report()).images, [{ hotFiles: 1, pinnedFiles: 0, fastFiles: 0 }]);
});

t.test('mounts are told of what has moved before the rest could not', async (t) => {
  const { cache, open } = await rig(t);
  const move: HotFiles['move'] = cache.hotFiles.move.bind(cache.hotFiles);
  const failing: HotFiles['move'] = async (contents, tier, signal) => {
    const moved = await move(contents, tier, signal);
    if (tier === 'fast') throw new ThinError('no-space', 'Cannot move the rest');
    return moved;
  };
  Object.assign(cache.hotFiles, { move: failing });
  let moves = 0;
  await open(async () => void moves++);
  await until('they look again', () => moves > 0);
  t.equal(moves, 1);
});
