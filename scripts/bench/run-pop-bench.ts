/**
 * `npm run bench:pop [-- [--deployments <number>] [--nodes <number>] [--cores <number>] [--disk <size>]
 * [--images <name>,…] [--registry <folder>] [herd | deaths | tier | hits | deployments | faults]…]`: a site of nodes with
 * networks of their own, behind a link of 100 Mbit/s and 20 ms to the registry, as RESULTS.md tells.
 *
 *   herd         nodes that start the same cold image at the same moment
 *   deaths       three such nodes, one of which is killed or cut off
 *   tier         images whose files are in a shared tier, a plain folder, and from the node
 *   hits         each image cold, from the site, from the node
 *   deployments  popular images on five nodes with little disk, shared and separate
 *   faults       the same while Redis is stopped, emptied, paused, restarted
 *
 * `--cores 0.15` gives each node of `herd`, the one alone too, so much of a core: on a machine with few of them ten nodes would
 * otherwise be compared with one that has them all.
 *
 * Writes dist/pop-deployments.svg. `--images` is for `tier` and `hits`. `--registry` keeps what was converted, and what each image
 * needs, for the next time.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { loadavg } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { Ownership } from '../../src/daemon/ownership.js';
import { formatSize, parseSize } from '../../src/units.js';
import { closeOnSignal } from './close-on-signal.js';
import { deploymentsPlot } from './deployments-plot.js';
import { deploymentsTable, phasesTable } from './deployments-table.js';
import { LoopbackRegistry } from './loopback-registry.js';
import { deathRounds } from './pop-deaths.js';
import { deploy, redisFaults } from './pop-deployments.js';
import { herds } from './pop-herd.js';
import { type Hits, hitsTable, measureHits, neededBytes, parseHits } from './pop-hits.js';
import { PopSite } from './pop-site.js';
import { firstOfNode, tierHits } from './pop-tier-hits.js';
import { withScratchDisk } from './scratch-disk.js';
import { deployedImages, publishImage } from './site-images.js';
import { SlowLink } from './slow-link.js';

const parts = ['herd', 'deaths', 'tier', 'hits', 'deployments', 'faults'] as const;
const linkOptions = { megabitsPerSecond: 100, roundTripMs: 20 };

const { values, positionals } = parseArgs({
  options: {
    deployments: { type: 'string', default: '200' },
    nodes: { type: 'string', default: '10' },
    cores: { type: 'string' },
    disk: { type: 'string', default: '64M' },
    images: { type: 'string' },
    registry: { type: 'string' },
  },
  allowPositionals: true,
});
const count = wholeNumber('deployments', values.deployments);
const herdNodes = wholeNumber('nodes', values.nodes);
const cores = values.cores === undefined ? undefined : Number(values.cores);
if (cores !== undefined && !(cores >= 0.01)) {
  throw new Error(`Cannot use --cores ${values.cores}: wanted a number from 0.01 on`);
}
const diskBytes = parseSize(values.disk);
const wanted = parts.filter((part) => positionals.length === 0 || positionals.includes(part));
if (positionals.some((part) => !parts.some((known) => known === part))) {
  throw new Error(`Cannot measure ${positionals.join(', ')}: wanted ${parts.join(', ')}`);
}
const named = values.images?.split(',');
const images = deployedImages.filter(({ image }) => named?.includes(image) ?? true);
if (images.length < (named?.length ?? 1)) {
  const known = deployedImages.map(({ image }) => image).join(', ');
  throw new Error(`Cannot use --images ${values.images}: wanted some of ${known}`);
}
if (named && wanted.some((part) => part !== 'tier' && part !== 'hits')) {
  throw new Error('Cannot use --images for all: wanted it with tier or hits');
}
if (images.length < 2 && wanted.includes('hits')) {
  throw new Error('Cannot measure hits with one image: wanted another that nodes start before it');
}
/** What is measured by what each image needs. */
const needsHits: ReadonlySet<string> = new Set(['hits', 'deployments', 'faults']);
/** One image is enough for the others. */
const needsAll = wanted.some((part) => part !== 'herd' && part !== 'deaths');

/** Bytes of the disk that all nodes are on, of which what they write is taken up. */
const scratchSize = 16 * 2 ** 30;
/** Where the registry is, and what is kept for the next time. */
interface Folders {
  readonly scratch: string;
  readonly kept: string;
}

function wholeNumber(name: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  throw new Error(`Cannot use --${name} ${text}: wanted a number from 1 on`);
}

function tell(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** As they were measured for these images before, unless they are asked for. */
async function hitsOf(
  site: PopSite,
  kept: string,
  referenceOf: (image: string) => string,
): Promise<Hits[]> {
  const file = join(kept, 'hits.json');
  const known = await readFile(file, 'utf8').catch(() => undefined);
  if (known !== undefined && !wanted.includes('hits')) return parseHits(known);
  const hits = await measureHits(site, images, referenceOf);
  tell(`\n${hitsTable(hits)}`);
  if (images.length === deployedImages.length) await writeFile(file, JSON.stringify(hits));
  return hits;
}

async function measure(
  site: PopSite,
  { scratch, kept }: Folders,
  referenceOf: (image: string) => string,
): Promise<void> {
  if (wanted.includes('herd')) {
    for await (const line of herds(site, herdNodes, referenceOf, cores)) tell(line);
  }
  if (wanted.includes('deaths')) {
    for await (const line of deathRounds(site, referenceOf)) tell(line);
  }
  if (wanted.includes('tier')) tell(`\n${await tierHits(site, images, scratch, referenceOf)}`);
  if (!wanted.some((part) => needsHits.has(part))) return;
  const needed = neededBytes(await hitsOf(site, kept, referenceOf));
  if (wanted.includes('deployments')) {
    tell(`${count} deployments, ${formatSize(diskBytes)} of disk a node`);
    const variants = [
      { name: 'shared', shared: true, diskBytes },
      { name: 'separate', shared: false, diskBytes },
    ];
    const results = await deploy(site, variants, count, referenceOf);
    tell(deploymentsTable(results, needed));
    await mkdir('dist', { recursive: true });
    await writeFile('dist/pop-deployments.svg', deploymentsPlot(results, needed));
    tell('dist/pop-deployments.svg\n');
  }
  if (wanted.includes('faults')) {
    const variant = { name: 'faults', shared: true, diskBytes, faults: redisFaults };
    const results = await deploy(site, [variant], count, referenceOf);
    tell(deploymentsTable(results, needed));
    for (const result of results) tell(phasesTable(result, needed));
  }
}

let onSignal = async () => {};
closeOnSignal(() => onSignal());
const measured = withScratchDisk(scratchSize, async (scratch) => {
  await using owned = new Ownership();
  // It fails of that, and takes its disk away.
  onSignal = async () => {
    await owned[Symbol.asyncDispose]();
    await measured.catch(() => undefined);
  };
  const kept = values.registry === undefined ? scratch : resolve(values.registry);
  await mkdir(kept, { recursive: true });
  const registry = owned.use(await LoopbackRegistry.open(kept, 0, '0.0.0.0'));
  const link = owned.use(await SlowLink.open(scratch, linkOptions));
  const site = owned.use(await PopSite.open(link, scratch));
  const needed = needsAll ? images : images.slice(0, 1);
  const first = wanted.includes('tier') ? [firstOfNode] : [];
  for (const { image } of new Set([...needed, ...first])) await publishImage(image, registry, kept);
  tell(`load ${loadavg()[0]?.toFixed(1)}`);
  const referenceOf = (image: string) => `${link.address}:${registry.port}/${image}:1`;
  await measure(site, { scratch, kept }, referenceOf);
});
await measured;
