/**
 * `npm run bench:pop`: nodes of a site that start the same cold image at the same moment, behind a link
 * of 100 Mbit/s and 20 ms to the registry; then starts while Redis is paused, resumed and emptied.
 * THINFS_BENCH_NODES: how many nodes (default: 10).
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Ownership } from '../../src/daemon/ownership.js';
import { pushToRegistry } from '../../test/support/images.js';
import { ensureImage } from '../images/image-cache.js';
import { readImage } from '../images/image-manifest.js';
import { convert } from './conversion.js';
import { LoopbackRegistry } from './loopback-registry.js';
import { PopSite, type SiteNode } from './pop-site.js';
import { SlowLink } from './slow-link.js';

const nodesDefault = 10;
const linkOptions = { megabitsPerSecond: 100, roundTripMs: 20 };
const words = ['python3', '-c', 'import json, http.client; print(json.dumps([1]))'];
const wanted = '[1]\n';
/** What ten nodes may fetch, and the slowest may take, in times of one node alone. */
const bytesMost = 1.05;
const timeMost = 1.5;

function tell(line: string): void {
  process.stdout.write(`${line}\n`);
}

interface Herd {
  readonly bytes: number;
  readonly slowestMs: number;
}

/** All of them at once, on nodes that have nothing. */
async function herd(site: PopSite, nodes: readonly SiteNode[], reference: string, shared: boolean) {
  for (const node of nodes) await node.start(shared ? 1 : 0);
  if (shared) for (const node of nodes) await node.start(nodes.length);
  const before = await site.linkBytes();
  const times = await Promise.all(nodes.map((node) => node.run(reference, words, wanted)));
  const bytes = (await site.linkBytes()) - before;
  return { bytes, slowestMs: Math.max(...times) };
}

function judge(name: string, { bytes, slowestMs }: Herd, alone: Herd): void {
  const [more, longer] = [bytes / alone.bytes, slowestMs / alone.slowestMs];
  const verdict = (value: number, most: number) => (value <= most ? 'met' : 'missed');
  tell(
    `${name}: ${bytes} bytes over the link, ${more.toFixed(3)} of one node (wanted <= ${bytesMost}: ${verdict(more, bytesMost)}); ` +
      `the slowest ${Math.round(slowestMs)} ms, ${longer.toFixed(2)} (wanted <= ${timeMost}: ${verdict(longer, timeMost)})`,
  );
}

/** Each fault in the middle of starts on nodes that have nothing. */
async function faults(site: PopSite, reference: string): Promise<void> {
  const all: [string, () => Promise<void> | void][] = [
    ['Redis is paused', () => site.signalRedis('SIGSTOP')],
    ['Redis is resumed', () => site.signalRedis('SIGCONT')],
    ['Redis is emptied', () => site.flushRedis()],
  ];
  for (const [name, fault] of all) {
    const nodes = [0, 1, 2].map((at) => site.node(`${name.replace(/ /g, '-')}-${at}`, true));
    try {
      for (const node of nodes) await node.thin('daemon', 'start');
      const before = await site.linkBytes();
      const runs = nodes.map((node) => node.run(reference, words, wanted));
      await new Promise((resolve) => setTimeout(resolve, 500));
      await fault();
      const times = await Promise.all(runs);
      const bytes = (await site.linkBytes()) - before;
      tell(
        `${name} during 3 starts: 0 errors, ${bytes} bytes, slowest ${Math.round(Math.max(...times))} ms`,
      );
    } finally {
      for (const node of nodes) await node.end();
    }
  }
}

const scratch = await mkdtemp(join(tmpdir(), 'thinfs-bench-pop-'));
const owned = new Ownership();
try {
  const registry = owned.use(await LoopbackRegistry.open(scratch, 0, '0.0.0.0'));
  const link = owned.use(await SlowLink.open(scratch, linkOptions));
  const site = owned.use(await PopSite.open(link, scratch));
  await pushToRegistry(await readImage(await ensureImage('python')), `${registry.host}/python:1`);
  await convert({ image: `${registry.host}/python:1`, cache: join(scratch, 'converter') });
  const reference = `${link.address}:${registry.port}/python:1`;
  const count = Number(process.env.THINFS_BENCH_NODES ?? nodesDefault);
  tell(`load ${loadavg()[0]?.toFixed(1)}; ${count} nodes`);

  const measure = async (name: string, nodes: number, shared: boolean): Promise<Herd> => {
    const some = Array.from({ length: nodes }, (_, at) => site.node(`${name}-${at}`, shared));
    try {
      const result = await herd(site, some, reference, shared);
      if (shared) {
        const reports = await Promise.all(some.map((node) => node.report()));
        const sum = (of: 'shelf' | 'peers' | 'origin' | 'alone') =>
          reports.reduce((total, { counts }) => total + counts[of].frames, 0);
        tell(
          `  frames: ${sum('origin')} from the origin for the site, ${sum('alone')} without agreement, ${sum('peers')} from other nodes, ${sum('shelf')} from the own shelf`,
        );
      }
      return result;
    } finally {
      for (const node of some) await node.end();
    }
  };
  const alone = await measure('alone', 1, false);
  tell(`one node alone: ${alone.bytes} bytes, ${Math.round(alone.slowestMs)} ms`);
  judge(`${count} nodes of a site`, await measure('site', count, true), alone);
  judge(`${count} nodes without one`, await measure('separate', count, false), alone);
  await faults(site, reference);
} finally {
  await owned[Symbol.asyncDispose]();
  await rm(scratch, { recursive: true, force: true });
}
