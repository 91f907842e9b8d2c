import { createHash } from 'node:crypto';
import { type CacheOptions, FileCache } from '../../src/cache/file-cache.js';
import type { Digest } from '../../src/digest.js';
import { cacheOptions, signal } from './cache-rig.js';
import { FaultyDisk } from './faulty-disk.js';
import { MemoryOrigin } from './memory-origin.js';

/*
 * Run by crash-points.test.ts: fills a cache and kills itself, without a chance to tidy up, at the
 * n-th call to the file system. Arguments: root, n.
 */

export function pattern(seed: string, size: number): Buffer {
  const block = createHash('sha256').update(seed).digest();
  return Buffer.alloc(size, block);
}

/** Two small files, a large one of three frames. */
export function crashOrigin(): MemoryOrigin {
  const files = [pattern('a', 100), pattern('b', 5000), pattern('c', 10_000)];
  return new MemoryOrigin('crash', files, 4096, 8192);
}

/** What is written without an origin: small, and too large to be kept in memory. */
export const pulled = [pattern('d', 2000), pattern('e', 1_200_000)];

/** The cache's options: a fast tier beside its root. */
export function crashOptions(root: string, changes: Partial<CacheOptions> = {}): CacheOptions {
  const limits = { quotaBytes: 1e9, freeSpaceFloorBytes: 0 };
  const tiers = [{ name: 'fast', directory: `${root}-fast`, ...limits }];
  return cacheOptions(root, { tiers, ...changes });
}

/** Reads, completes, stores what is pulled in both tiers, and moves files to and fro. */
export async function fill(root: string, disk: FaultyDisk): Promise<void> {
  await using cache = await FileCache.open(crashOptions(root, { disk }));
  const origin = crashOrigin();
  const files = origin.refs();
  for (const file of files.slice(0, 2)) await cache.read(file, 0, file.size, origin, signal);
  await cache.completeImage({ files, origin, signal });
  using hold = cache.hold();
  const stored: Digest[] = [];
  for (const [at, bytes] of pulled.entries()) {
    const writer = cache.fileWriter(hold, { tier: at === 0 ? 'local' : 'fast' });
    await writer.write(bytes.subarray(0, 1000));
    await writer.write(bytes.subarray(1000));
    stored.push((await writer.commit()).content);
  }
  await cache.hotFiles.move([...stored, ...files.map(({ content }) => content)], 'fast', signal);
  await cache.hotFiles.move(stored, 'local', signal);
}

const [, script, root, point] = process.argv;
if (script?.endsWith('crash-child.ts') === true && root !== undefined) {
  const disk = new FaultyDisk();
  let calls = 0;
  disk.before = () => {
    calls++;
    if (calls === Number(point)) process.kill(process.pid, 'SIGKILL');
  };
  await fill(root, disk);
}
