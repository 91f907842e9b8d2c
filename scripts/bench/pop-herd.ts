import { median } from './measurement.js';
import type { PopSite, SiteNode } from './pop-site.js';
import { deployedImages } from './site-images.js';

/** What ten nodes may fetch, and the slowest may take, in times of one node alone. */
const bytesMost = 1.05;
const timeMost = 1.5;
/** What is read ahead differs from run to run: the others are compared with the medians of so many. */
const aloneRounds = 3;

interface Herd {
  readonly bytes: number;
  readonly slowestMs: number;
}

/**
 * Nodes that start the same cold image at the same moment: one alone, a site, as many without one.
 * @param cores of CPU that each has, the one alone too; all of the machine's if undefined
 */
export async function* herds(
  site: PopSite,
  count: number,
  referenceOf: (image: string) => string,
  cores: number | undefined,
): AsyncGenerator<string> {
  const [program] = deployedImages;
  if (!program) return;
  const measure = async (name: string, nodes: number, shared: boolean) => {
    const some: SiteNode[] = [];
    try {
      for (let at = 0; at < nodes; at++)
        some.push(await site.node(`${name}-${at}`, { shared, cores }));
      for (const node of some) await node.start(shared ? 1 : 0);
      if (shared) for (const node of some) await node.start(nodes);
      const before = await site.linkBytes();
      const reference = referenceOf(program.image);
      const times = await Promise.all(some.map((node) => node.run(reference, program)));
      const bytes = (await site.linkBytes()) - before;
      const frames = shared ? await framesOf(some) : undefined;
      return { bytes, slowestMs: Math.max(...times), frames };
    } finally {
      for (const node of some) await node.end();
    }
  };
  const all: Herd[] = [];
  for (let at = 0; at < aloneRounds; at++) {
    const one = await measure(`alone${at}`, 1, false);
    yield `one node alone: ${one.bytes} bytes, ${Math.round(one.slowestMs)} ms`;
    all.push(one);
  }
  const alone = {
    bytes: median(all.map(({ bytes }) => bytes)),
    slowestMs: median(all.map(({ slowestMs }) => slowestMs)),
  };
  const shared = await measure('herd', count, true);
  yield judged(`${count} nodes of a site`, shared, alone);
  if (shared.frames) yield shared.frames;
  yield judged(`${count} nodes without one`, await measure('separate', count, false), alone);
}

async function framesOf(nodes: readonly SiteNode[]): Promise<string> {
  const reports = await Promise.all(nodes.map((node) => node.report()));
  const sum = (of: 'shelf' | 'peers' | 'origin' | 'alone') => {
    const [frames, bytes] = (['frames', 'bytes'] as const).map((unit) =>
      reports.reduce((total, { counts }) => total + counts[of][unit], 0),
    );
    return `${frames} (${bytes} bytes)`;
  };
  const why = new Map<string, number>();
  for (const { aloneFor } of reports) {
    for (const [reason, count] of Object.entries(aloneFor)) {
      why.set(reason, (why.get(reason) ?? 0) + count);
    }
  }
  const reasons = [...why].filter(([, count]) => count > 0).map((each) => each.join(' '));
  return `  frames: ${sum('origin')} from the origin for the site, ${sum('alone')} without agreement, ${sum('peers')} from other nodes, ${sum('shelf')} from the own shelf${reasons.length > 0 ? `; pieces without agreement: ${reasons.join(', ')}` : ''}`;
}

function judged(name: string, { bytes, slowestMs }: Herd, alone: Herd): string {
  const [more, longer] = [bytes / alone.bytes, slowestMs / alone.slowestMs];
  const verdict = (value: number, most: number) => (value <= most ? 'met' : 'missed');
  return (
    `${name}: ${bytes} bytes over the link, ${more.toFixed(3)} of one node (wanted <= ${bytesMost}: ${verdict(more, bytesMost)}); ` +
    `the slowest ${Math.round(slowestMs)} ms, ${longer.toFixed(2)} (wanted <= ${timeMost}: ${verdict(longer, timeMost)})`
  );
}
