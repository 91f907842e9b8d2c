import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { nodeDisk } from '../../src/cache/disk.js';
import { FileCache } from '../../src/cache/file-cache.js';
import { cacheLayout } from '../../src/cache/layout.js';
import { Scrubber } from '../../src/cache/scrubber.js';
import { Tier } from '../../src/cache/tier.js';
import { TierFiles } from '../../src/cache/tier-files.js';
import type { Digest } from '../../src/digest.js';
import { cacheOptions, scratchDirectory, signal, until } from './cache-rig.js';
import { InlineIndex } from './inline-index.js';
import { MemoryOrigin } from './memory-origin.js';
import { tierFiles } from './tier-listing.js';

t.test('files that were not read for long are verified in the background, once', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const origin = new MemoryOrigin(
    'a',
    Array.from({ length: 20 }, () => randomBytes(777)),
    4096,
    4096,
  );
  const cache = await FileCache.open(cacheOptions(root));
  await cache.completeImage({ files: origin.refs(), origin, signal });
  await cache[Symbol.asyncDispose]();
  const layout = cacheLayout(root);
  const tiers = layout.tiers.map((tier) => new Tier(nodeDisk, tier));
  const index = await InlineIndex.open(layout);
  t.teardown(() => index.stop());
  const lost: Digest[] = [];
  const scrubber = new Scrubber(
    new TierFiles(tiers, false, {
      settled: () => undefined,
      dismissed: () => undefined,
    }),
    index,
    {
      idle: () => true,
      wrong: async (content) => void lost.push(content),
      failed: (error) => {
        throw error;
      },
    },
  );
  const [path] = tierFiles(root);
  if (path === undefined) throw new Error('nothing there');
  writeFileSync(path, randomBytes(700));
  await scrubber.scrubOld(Date.now() - 60_000);
  t.same(lost, [], 'all were verified a moment ago');
  const later = Date.now() + 1;
  await until(() => Date.now() >= later); // what is verified from now on is not before it
  await scrubber.scrubOld(later);
  t.same(lost, [`sha256:${path.slice(-64)}`]);
  t.same(await index.call('unverified', later, 100), []);
  await scrubber[Symbol.asyncDispose]();
});
