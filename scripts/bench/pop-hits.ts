import { z } from 'zod';
import type { PopSite } from './pop-site.js';
import type { DeployedImage } from './site-images.js';

/** A start that finds everything in the site may take this many times one that finds it on its node. */
const sharedMost = 1.3;

const start = z.object({
  ms: z.number(),
  /** Over the link. */
  bytes: z.number(),
});
/** One image on nodes that had nothing before: nobody has it; another node has; this one has. */
const hitsSchema = z.object({ image: z.string(), cold: start, shared: start, local: start });
export type Hits = z.infer<typeof hitsSchema>;

export function parseHits(text: string): Hits[] {
  return z.array(hitsSchema).parse(JSON.parse(text));
}

/**
 * Each image by itself: the first start of a site, the first of its second node, and again there. Both nodes have
 * started something else before: what the first container of a daemon takes is not what is measured.
 */
export async function measureHits(
  site: PopSite,
  images: readonly DeployedImage[],
  referenceOf: (image: string) => string,
): Promise<Hits[]> {
  const all: Hits[] = [];
  for (const image of images) {
    const [first, second] = [
      await site.node(`first-${image.image}`, { shared: true }),
      await site.node(`second-${image.image}`, { shared: true }),
    ];
    try {
      await first.start(1);
      await second.start(2);
      await first.start(2);
      const start = async (node: typeof first) => {
        const before = await site.linkBytes();
        const ms = await node.run(referenceOf(image.image), image);
        return { ms, bytes: (await site.linkBytes()) - before };
      };
      const other = images.find((each) => each !== image);
      for (const node of [first, second])
        if (other) await node.run(referenceOf(other.image), other);
      const cold = await start(first);
      const shared = await start(second);
      all.push({ image: image.image, cold, shared, local: await start(second) });
    } finally {
      for (const node of [first, second]) await node.end();
    }
  }
  return all;
}

export function hitsTable(hits: readonly Hits[]): string {
  const head =
    '| image | cold | bytes over the link | hit in the site | bytes | hit on the node | site / node |';
  const rows = hits.map(
    ({ image, cold, shared, local }) =>
      `| ${image} | ${seconds(cold.ms)} | ${cold.bytes} | ${seconds(shared.ms)} | ${shared.bytes} | ${seconds(local.ms)} | ${(shared.ms / local.ms).toFixed(2)} |`,
  );
  const mean = (of: (each: Hits) => number) =>
    hits.reduce((sum, each) => sum + of(each), 0) / hits.length;
  const ratio = mean(({ shared }) => shared.ms) / mean(({ local }) => local.ms);
  const verdict = ratio <= sharedMost ? 'met' : 'missed';
  return `${[head, '| --- | --- | --- | --- | --- | --- | --- |', ...rows].join('\n')}
average of the hits in the site / on the node: ${ratio.toFixed(2)} (wanted <= ${sharedMost}: ${verdict})\n`;
}

/** Bytes that a start needs where nothing is here. */
export function neededBytes(hits: readonly Hits[]): (image: DeployedImage['image']) => number {
  const byImage = new Map(hits.map(({ image, cold }) => [image, cold.bytes]));
  return (image) => byImage.get(image) ?? 0;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}
