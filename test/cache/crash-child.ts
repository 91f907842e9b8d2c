import { createHash } from 'node:crypto';
import { FileCache } from '../../src/cache/file-cache.js';
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

export async function fill(root: string, disk: FaultyDisk): Promise<void> {
  const cache = await FileCache.open(cacheOptions(root, { disk }));
  const origin = crashOrigin();
  for (const file of origin.refs()) await cache.read(file, 0, file.size, origin, signal);
  using hold = cache.hold();
  for (const bytes of pulled) {
    const writer = cache.fileWriter(hold);
    await writer.write(bytes.subarray(0, 1000));
    await writer.write(bytes.subarray(1000));
    await writer.commit();
  }
  await cache[Symbol.asyncDispose]();
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
