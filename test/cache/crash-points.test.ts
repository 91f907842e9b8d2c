import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { FileCache } from '../../src/cache/file-cache.js';
import { digestOf } from '../../src/digest.js';
import { cacheOptions, scratchDirectory, signal } from './cache-rig.js';
import { crashOrigin, fill, pulled } from './crash-child.js';
import { FaultyDisk } from './faulty-disk.js';
import { wrongTierFiles } from './tier-listing.js';

const child = fileURLToPath(new URL('./crash-child.ts', import.meta.url));

/** @returns whether the child was killed (and not done before it came to that call) */
async function killedAt(root: string, point: number): Promise<boolean> {
  const process = spawn('node', ['--import=tsx', child, root, String(point)], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const [code, killer] = await once(process, 'exit');
  if (killer !== 'SIGKILL' && code !== 0) throw new Error(`the child failed with code ${code}`);
  return killer === 'SIGKILL';
}

/** Opens what the child left, and checks everything. */
async function checkAfterCrash(root: string): Promise<void> {
  const cache = await FileCache.open(cacheOptions(root));
  try {
    if (wrongTierFiles(root).length > 0) throw new Error('a wrong file has a final name');
    const origin = crashOrigin();
    for (const file of origin.refs()) {
      const bytes = await cache.read(file, 0, file.size, origin, signal);
      if (!bytes.equals(origin.bytesOf(file))) throw new Error('wrong bytes were read');
    }
    for (const bytes of pulled) {
      const content = digestOf(bytes);
      if (!(await cache.has(content))) continue;
      if (!readFileSync(cache.pathOf(content)).equals(bytes)) throw new Error('a torn pulled file');
    }
    const { wrong } = await cache.verify(signal);
    if (wrong.length > 0) throw new Error('the scrub found a wrong file');
  } finally {
    await cache[Symbol.asyncDispose]();
  }
  if (wrongTierFiles(root).length > 0) throw new Error('a wrong file appeared later');
}

t.test(
  'killed at any call to the file system, the cache is whole',
  { timeout: 300_000 },
  async (t) => {
    const directory = scratchDirectory(t);
    const disk = new FaultyDisk();
    let calls = 0;
    disk.before = () => void calls++;
    await fill(join(directory, 'all'), disk);
    t.ok(calls > 30, `${calls} calls`);
    const points = Array.from({ length: calls }, (_, at) => at + 1).values();
    let kills = 0;
    const lane = async () => {
      for (const point of points) {
        const root = join(directory, String(point));
        if (await killedAt(root, point)) kills++;
        await checkAfterCrash(root);
      }
    };
    await Promise.all([lane(), lane(), lane()]);
    // Calls overlap: which one is the n-th, and how many there are, differs a little between runs.
    t.ok(kills > calls * 0.8, `${kills} kills`);
  },
);
