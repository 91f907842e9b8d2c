/**
 * `npm run bench:shared [-- <folder>]`: how long a container takes on a node that has nothing of its
 * own, whose files are in a plain directory of the node (a local tier), in a shared tier, and in one
 * that mounts read directly. The metadata comes from a registry on the loopback each time. With a
 * folder, on a GlusterFS say, the shared tier is made there, else beside the others.
 */
import { cp, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { type CommandResult, runCommand } from '../../test/support/run-command.js';
import { until } from '../until.js';
import { LoopbackRegistry } from './loopback-registry.js';
import { median } from './measurement.js';
import { deployedImages, publishImage } from './site-images.js';
import { builtProgram } from './thin-node.js';

const rounds = 5;
const places = ['local', 'shared', 'direct'] as const;
type Place = (typeof places)[number];

const [deployed] = deployedImages;
if (!deployed) throw new Error('Cannot measure: there is no image');
const { image, words, wanted } = deployed;

const statusSchema = z.object({
  sharedTier: z.object({
    away: z.string().nullable(),
    waiting: z.number(),
    counts: z.object({ stored: z.number(), failures: z.number() }),
  }),
});
const fetchedSchema = z.object({
  images: z.array(z.object({ fetched: z.object({ requests: z.number() }) })),
});

const scratch = await mkdtemp(join(tmpdir(), 'thinfs-shared-bench-'));
const [, , given] = process.argv;
const shared = given === undefined ? join(scratch, 'shared') : resolve(given);
const copy = join(scratch, 'copy');
const tierOf: Record<Place, string> = {
  local: `fast=${copy}`,
  shared: `shared=${shared}`,
  direct: `shared=${shared},direct`,
};

function thin(root: string, place: Place, complete: string, ...words: string[]) {
  const env = { THINFS_ROOT: root, THINFS_TIERS: tierOf[place], THINFS_COMPLETE: complete };
  const all = [builtProgram('src/cli/thin.js'), ...words];
  return runCommand(process.execPath, all, { env: { ...env, THINFS_PREFETCH: 'none' } });
}

async function tierStatus(root: string, place: Place) {
  const { stdout } = await thin(root, place, 'never', 'pop', 'status', '--json');
  return statusSchema.parse(JSON.parse(stdout)).sharedTier;
}

/** Puts all files of the image there, and the same into a plain directory. */
async function fill(reference: string): Promise<void> {
  const root = join(scratch, 'filler');
  await thin(root, 'shared', 'always', 'mount', reference, join(scratch, 'image'));
  await until('the image is complete', async () => {
    const { stdout } = await thin(root, 'shared', 'always', 'why', reference);
    return /files: complete/.test(stdout);
  });
  await until('it is shared', async () => {
    const { waiting, counts } = await tierStatus(root, 'shared');
    if (counts.failures > 0) throw new Error('Cannot measure: some files could not be shared');
    return waiting === 0 && counts.stored > 0;
  });
  await thin(root, 'shared', 'always', 'daemon', 'cleanup', '--force');
  await mkdir(copy, { mode: 0o700 });
  await cp(shared, copy, {
    recursive: true,
    filter: (path) => !/\/\.(thinfs-shared|incoming|images)/.test(path),
  });
}

/** Milliseconds of one container on a new node. */
async function measure(place: Place, round: number, reference: string): Promise<number> {
  const root = join(scratch, `${place}-${round}`);
  await thin(root, place, 'never', 'daemon', 'start');
  if (place !== 'local') {
    await until('it is there', async () => (await tierStatus(root, place)).away === null);
  }
  const startedAt = performance.now();
  const ran: CommandResult = await thin(root, place, 'never', 'run', '--rm', reference, ...words);
  const tookMs = performance.now() - startedAt;
  if (ran.stdout !== wanted) throw new Error(`Wrong output: ${ran.stdout}`);
  const { stdout } = await thin(root, place, 'never', 'status', '--json');
  const { images } = fetchedSchema.parse(JSON.parse(stdout));
  const requests = images.reduce((sum, { fetched }) => sum + fetched.requests, 0);
  if (requests > 0) throw new Error(`Not all came from the ${place} tier: ${requests} requests`);
  await thin(root, place, 'never', 'daemon', 'cleanup', '--force');
  return tookMs;
}

try {
  await mkdir(shared, { recursive: true, mode: 0o700 });
  await using registry = await LoopbackRegistry.open(scratch);
  await publishImage(image, registry, scratch);
  const reference = `${registry.host}/${image}:1`;
  await fill(reference);
  process.stdout.write(`load ${loadavg()[0]?.toFixed(1)}, ${rounds} rounds\n`);
  const times = new Map<Place, number[]>(places.map((place) => [place, []]));
  for (let round = 0; round < rounds; round++) {
    for (const place of places) {
      times.get(place)?.push(await measure(place, round, reference));
    }
  }
  const local = median(times.get('local') ?? []);
  for (const [place, all] of times) {
    const ms = median(all);
    process.stdout.write(
      `${place.padEnd(8)} ${ms.toFixed(0).padStart(6)} ms  ${(ms / local).toFixed(2)}  (${all.map((each) => each.toFixed(0)).join(' ')})\n`,
    );
  }
} finally {
  await rm(scratch, { recursive: true, force: true });
}
