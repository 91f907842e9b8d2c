import { setTimeout as delay } from 'node:timers/promises';
import type { PopSite, SiteNode } from './pop-site.js';
import { randomOf } from './popularity.js';
import { deployedImages } from './site-images.js';

const nodeCount = 3;
const rounds = 3;
/** Milliseconds into a start after which a node goes: at the earliest, and drawn on top of it. */
const earliestMs = 400;
const spreadMs = 2000;
/** Milliseconds for which a node stays cut off. */
const cutMs = 5000;
/** Bytes over the link may be as many times those of one node. */
const bytesMost = 2;

interface Round {
  readonly slowestMs: number;
  readonly bytes: number;
  readonly errors: readonly string[];
}

const deaths: readonly (readonly [string, (node: SiteNode) => Promise<void>])[] = [
  ['nothing happens', async () => {}],
  ['the server of one is killed', (node) => node.killServer()],
  [
    `one is cut off for ${cutMs / 1000} s`,
    async (node) => {
      await node.cut();
      await delay(cutMs);
      await node.join();
    },
  ],
];

/** Three nodes start the same cold image, and one of them goes in the middle of it: each a few times. */
export async function* deathRounds(
  site: PopSite,
  referenceOf: (image: string) => string,
): AsyncGenerator<string> {
  const random = randomOf(1);
  let alone: number | undefined;
  for (const [name, die] of deaths) {
    const done: Round[] = [];
    for (let round = 0; round < rounds; round++) {
      const prefix = `${name.replace(/ /g, '-')}-${round}`;
      done.push(await oneRound(site, prefix, die, earliestMs + random() * spreadMs, referenceOf));
    }
    const bytes = done.map((round) => round.bytes);
    alone ??= Math.min(...bytes);
    const times = Math.max(...bytes) / alone;
    const errors = done.flatMap((round) => round.errors);
    const slowest = Math.max(...done.map(({ slowestMs }) => slowestMs));
    yield `${name}: ${errors.length} errors in ${rounds * nodeCount} starts; ` +
      `over the link ${Math.min(...bytes)} to ${Math.max(...bytes)} bytes, ${times.toFixed(2)} of the least without a death ` +
      `(wanted <= ${bytesMost}: ${times <= bytesMost ? 'met' : 'missed'}); slowest start ${Math.round(slowest)} ms`;
    for (const error of errors) yield `  ${error}`;
  }
}

async function oneRound(
  site: PopSite,
  prefix: string,
  die: (node: SiteNode) => Promise<void>,
  afterMs: number,
  referenceOf: (image: string) => string,
): Promise<Round> {
  const [program] = deployedImages;
  const nodes: SiteNode[] = [];
  try {
    for (let at = 0; at < nodeCount; at++) {
      nodes.push(await site.node(`${prefix}-${at}`, { shared: true }));
    }
    for (const node of nodes) await node.start(1);
    for (const node of nodes) await node.start(nodeCount);
    const [victim] = nodes;
    if (!program || !victim) throw new Error('Cannot start nothing');
    const before = await site.linkBytes();
    const starts = nodes.map((node) => node.run(referenceOf(program.image), program));
    const death = delay(afterMs).then(() => die(victim));
    const ended = await Promise.allSettled(starts);
    await death;
    return {
      slowestMs: Math.max(...ended.map((each) => (each.status === 'fulfilled' ? each.value : 0))),
      bytes: (await site.linkBytes()) - before,
      errors: ended.flatMap((each) => (each.status === 'rejected' ? [`${each.reason}`] : [])),
    };
  } finally {
    for (const node of nodes) await node.end();
  }
}
