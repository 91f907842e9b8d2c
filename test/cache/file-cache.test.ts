import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { FileCache } from '../../src/cache/file-cache.js';
import { MemoryOrigin } from './memory-origin.js';

const signal = new AbortController().signal;

t.test('reads come from the origin once, and from the disk afterwards', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'thinfs-cache-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const files = [randomBytes(100), randomBytes(3000), randomBytes(100_000), randomBytes(40_001)];
  const origin = new MemoryOrigin('a', files, 4096, 16_384);
  const cache = await FileCache.open({
    root: join(directory, 'root'),
    quotaBytes: 1e9,
    freeSpaceFloorBytes: 0,
    log: { info: () => undefined, warn: (details, message) => t.comment(message, details) },
  });
  for (const file of origin.refs()) {
    const bytes = await cache.read(file, 0, file.size + 10, origin, signal);
    t.ok(bytes.equals(origin.bytesOf(file)), `file of ${file.size} bytes`);
  }
  await cache[Symbol.asyncDispose]();
  for (const file of origin.refs()) {
    t.ok(readFileSync(cache.pathOf(file.content)).equals(origin.bytesOf(file)));
  }
  t.equal(origin.fetched.length, new Set(origin.fetched).size, 'each frame is fetched once');
});
