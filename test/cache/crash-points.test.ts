import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, existsSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { FileCache } from '../../src/cache/file-cache.js';
import { tierPath } from '../../src/cache/layout.js';
import { digestOf } from '../../src/digest.js';
import { scratchDirectory, signal } from './cache-rig.js';
import { crashOptions, crashOrigin, fill, pulled } from './crash-child.js';
import { FaultyDisk, operations } from './faulty-disk.js';
import { wrongFilesIn } from './tier-listing.js';

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
  const cache = await FileCache.open(crashOptions(root));
  const wrongFiles = () => cache.tierDirectories.flatMap(wrongFilesIn);
  try {
    if (wrongFiles().length > 0) throw new Error('a wrong file has a final name');
    const origin = crashOrigin();
    for (const file of origin.refs()) {
      const bytes = await cache.read(file, 0, file.size, origin, signal);
      if (!bytes.equals(origin.bytesOf(file))) throw new Error('wrong bytes were read');
    }
    for (const bytes of pulled) {
      const content = digestOf(bytes);
      const paths = cache.tierDirectories.map((directory) => tierPath(directory, content));
      for (const path of paths.filter((one) => existsSync(one))) {
        if (!readFileSync(path).equals(bytes)) throw new Error('a torn pulled file');
      }
    }
    const { wrong } = await cache.verify(signal);
    if (wrong.length > 0) throw new Error('the scrub found a wrong file');
  } finally {
    await cache[Symbol.asyncDispose]();
  }
  if (wrongFiles().length > 0) throw new Error('a wrong file appeared later');
}

const indexNames = ['index.db', 'index.db-wal'];

/**
 * Fills a cache, of which no call works from the n-th on, and which leaves its index as it was then.
 * @returns false if it was done before
 */
async function stoppedAt(root: string, point: number): Promise<boolean> {
  const disk = new FaultyDisk();
  let calls = 0;
  disk.before = () => {
    calls++;
    if (calls !== point) return;
    for (const name of indexNames.filter((one) => existsSync(join(root, one)))) {
      copyFileSync(join(root, name), join(root, `${name}.then`));
    }
    for (const operation of operations) disk.faults.set(operation, 'EIO');
  };
  await fill(root, disk).catch(() => undefined);
  for (const name of indexNames) {
    rmSync(join(root, name), { force: true });
    const then = join(root, `${name}.then`);
    if (existsSync(then)) renameSync(then, join(root, name));
  }
  return calls >= point;
}

/** How many calls a whole run makes. */
async function countCalls(root: string): Promise<number> {
  const disk = new FaultyDisk();
  let calls = 0;
  disk.before = () => void calls++;
  await fill(root, disk);
  return calls;
}

t.setTimeout(400_000);

t.test('stopped at any call to the file system, the cache is whole', async (t) => {
  const directory = scratchDirectory(t);
  const calls = await countCalls(join(directory, 'all'));
  t.ok(calls > 60, `${calls} calls`);
  let stops = 0;
  // Every other one in a run: all of them take a minute.
  const first = 1 + (process.pid % 2);
  t.comment(`beginning with call ${first}`);
  for (let point = first; point <= calls; point += 2) {
    const root = join(directory, String(point));
    if (await stoppedAt(root, point)) stops++;
    await checkAfterCrash(root);
    for (const folder of [root, `${root}-fast`]) rmSync(folder, { recursive: true });
  }
  // Calls overlap: which one is the n-th, and how many there are, differs a little between runs.
  t.ok(stops > calls * 0.4, `${stops} stops`);
});

t.test('killed at some of these calls, it is whole too', async (t) => {
  const directory = scratchDirectory(t);
  const calls = await countCalls(join(directory, 'all'));
  const points = Array.from({ length: 8 }, (_, at) => Math.ceil((calls * (at + 0.5)) / 8)).values();
  let kills = 0;
  const lane = async () => {
    for (const point of points) {
      const root = join(directory, String(point));
      if (await killedAt(root, point)) kills++;
      await checkAfterCrash(root);
    }
  };
  await Promise.all([lane(), lane(), lane()]);
  t.ok(kills >= 6, `${kills} kills`);
});
