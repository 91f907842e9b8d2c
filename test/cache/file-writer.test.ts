import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { tierDirectory } from '../../src/cache/layout.js';
import { digestOf } from '../../src/digest.js';
import fc from '../support/properties.js';
import { openCache, scratchDirectory } from './cache-rig.js';
import { FaultyDisk } from './faulty-disk.js';
import { tierFiles } from './tier-listing.js';

const part = fc.oneof(
  fc.record({ bytes: fc.integer({ min: 0, max: 700_000 }) }),
  fc.record({ hole: fc.integer({ min: 0, max: 1_500_000 }) }),
);

t.test('data and holes in any order make the file that they say', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const cache = await openCache(t, root);
  await fc.assert(
    fc.asyncProperty(fc.array(part, { maxLength: 6 }), async (parts) => {
      using hold = cache.hold();
      const writer = cache.fileWriter(hold);
      const pieces: Buffer[] = [];
      for (const one of parts) {
        if ('bytes' in one) {
          const bytes = randomBytes(one.bytes);
          pieces.push(bytes);
          await writer.write(bytes);
        } else {
          pieces.push(Buffer.alloc(one.hole));
          await writer.hole(one.hole);
        }
      }
      const whole = Buffer.concat(pieces);
      const file = await writer.commit();
      const right = { content: digestOf(whole), size: whole.length };
      if (file.content !== right.content || file.size !== right.size) return false;
      return readFileSync(cache.pathOf(file.content)).equals(whole);
    }),
    { numRuns: 40 },
  );
  t.same(readdirSync(join(tierDirectory(root, 'local'), '.incoming')), []);
});

t.test('holes take no disk', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const cache = await openCache(t, root);
  using hold = cache.hold();
  const writer = cache.fileWriter(hold);
  await writer.write(Buffer.from('begin'));
  await writer.hole(300_000_000);
  const { content, size } = await writer.commit();
  t.equal(size, 300_000_005);
  t.ok(statSync(cache.pathOf(content)).blocks * 512 < 100_000);
  t.ok((await cache.usage()).bytes < 100_000);
});

t.test('aborted, or failing: nothing is left', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const disk = new FaultyDisk();
  const cache = await openCache(t, root, { disk });
  using hold = cache.hold();
  for (const size of [100, 2_000_000]) {
    const writer = cache.fileWriter(hold);
    await writer.write(randomBytes(size));
    await writer.abort();
    await writer.abort();
  }
  for (const operation of ['write', 'rename', 'open'] as const) {
    for (const size of [100, 2_000_000]) {
      const writer = cache.fileWriter(hold);
      disk.faults.set(operation, 'ENOSPC');
      const work = (async () => {
        await writer.write(randomBytes(size));
        await writer.commit();
      })();
      await t.rejects(work, { code: 'no-space', message: /Cannot store file in the cache/ });
      await writer.abort();
      disk.faults.clear();
    }
  }
  t.same(readdirSync(join(tierDirectory(root, 'local'), '.incoming')), []);
  t.same(tierFiles(root), []);
});

t.test('a file that is here is not written again', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const disk = new FaultyDisk();
  const cache = await openCache(t, root, { disk });
  using hold = cache.hold();
  for (const size of [100, 2_000_000]) {
    const bytes = randomBytes(size);
    const inodes = [];
    for (let round = 0; round < 2; round++) {
      const writer = cache.fileWriter(hold);
      await writer.write(bytes);
      const { content } = await writer.commit();
      await writer.abort();
      inodes.push(statSync(cache.pathOf(content)).ino);
      t.ok(existsSync(cache.pathOf(content)), 'abort after commit does nothing');
    }
    t.equal(inodes[0], inodes[1]);
  }
});
