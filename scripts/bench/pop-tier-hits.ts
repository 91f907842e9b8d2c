import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { median } from './measurement.js';
import type { PopSite, SiteNode } from './pop-site.js';
import { type DeployedImage, deployedImages } from './site-images.js';

/** What a node has started before: what the first container of a daemon takes is not what is measured. */
export const firstOfNode = imageOf('busybox');
/** Those of which the whole comes over the link in seconds. */
const smallEnough: readonly DeployedImage['image'][] = ['python', 'nginx', 'base'];
/** A hit in the shared tier may take this many times one on the node. */
const tierMost = 1.3;
/** Starts of each kind, each on a fresh node; the median counts. */
const rounds = 3;

/** How the tier is read, as `--tier` says it. */
const kinds = { 'under a deadline': '', direct: ',direct' } as const;

/**
 * Starts on nodes that know an image and have none of its files, all of which are in a shared tier, a
 * plain folder; beside starts on a node that has them. All of them have started something before.
 */
export async function tierHits(
  site: PopSite,
  images: readonly DeployedImage[],
  folder: string,
  referenceOf: (image: string) => string,
): Promise<string> {
  const [directory, mountPoint] = [join(folder, 'tier'), join(folder, 'mounted')];
  for (const each of [directory, mountPoint]) await mkdir(each, { mode: 0o700 });
  const tier = `shared=${directory}`;
  const rows: TierRow[] = [];
  const filler = await site.node('filler', { shared: false, tier, complete: true });
  try {
    await filler.start(0);
    for (const image of images.filter((each) => smallEnough.includes(each.image))) {
      const reference = referenceOf(image.image);
      await filler.visit(reference, mountPoint, () => filler.settled(reference));
      const local: number[] = [];
      for (let round = 0; round < rounds; round++) local.push(await filler.run(reference, image));
      const times: number[] = [];
      for (const [name, suffix] of Object.entries(kinds)) {
        times.push(
          await medianOf(async (round) => {
            const node = `${image.image}-${name.replace(/ /g, '-')}-${round}`;
            const fresh = await site.node(node, { shared: false, tier: tier + suffix });
            return await hit(fresh, referenceOf, mountPoint, image);
          }),
        );
      }
      rows.push({ image: image.image, local: median(local), times });
    }
  } finally {
    await filler.end();
  }
  return table(rows);
}

function imageOf(name: DeployedImage['image']): DeployedImage {
  const image = deployedImages.find((each) => each.image === name);
  if (image) return image;
  throw new Error(`Cannot start ${name}: it is not among the images of the site`);
}

async function medianOf(measure: (round: number) => Promise<number>): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) times.push(await measure(round));
  return median(times);
}

/** The first start on a node that knows the image. */
async function hit(
  node: SiteNode,
  referenceOf: (image: string) => string,
  mountPoint: string,
  image: DeployedImage,
): Promise<number> {
  const reference = referenceOf(image.image);
  try {
    await node.start(0);
    await node.run(referenceOf(firstOfNode.image), firstOfNode);
    await node.visit(reference, mountPoint, async () => {});
    return await node.run(reference, image);
  } finally {
    await node.end();
  }
}

interface TierRow {
  readonly image: string;
  /** Milliseconds. */
  readonly local: number;
  /** By kind. */
  readonly times: readonly number[];
}

function table(rows: readonly TierRow[]): string {
  const names = Object.keys(kinds);
  const head = `| image | hit on the node |${names.map((name) => ` in the tier, ${name} |`).join('')}`;
  const lines = rows.map(
    ({ image, local, times }) =>
      `| ${image} | ${seconds(local)} |${times.map((ms) => ` ${seconds(ms)}, ${(ms / local).toFixed(2)} |`).join('')}`,
  );
  const all = rows.reduce((sum, { local }) => sum + local, 0);
  const verdicts = names.map((name, at) => {
    const ratio = rows.reduce((sum, { times }) => sum + (times[at] ?? 0), 0) / all;
    const verdict = ratio <= tierMost ? 'met' : 'missed';
    return `in the tier, ${name} / on the node: ${ratio.toFixed(2)} (wanted <= ${tierMost}: ${verdict})`;
  });
  return `${[head, `|${' --- |'.repeat(names.length + 2)}`, ...lines, ...verdicts].join('\n')}\n`;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}
