import { setTimeout as delay } from 'node:timers/promises';
import type { PopSite, SiteNode } from './pop-site.js';
import { popularRanks, randomOf } from './popularity.js';
import { type DeployedImage, deployedImages } from './site-images.js';

export const deploymentNodes = 5;
/** Milliseconds into a deployment after which its fault happens: its fetches have begun. */
const faultAfterMs = 300;
/** Of a node's disk that the site's frames get; files get the rest. */
const shelfShare = 1 / 3;

/** One start of one image on one node, which its program ends. */
export interface Deployment {
  readonly image: DeployedImage['image'];
  readonly ms: number;
  /** Over the link, meanwhile. */
  readonly bytes: number;
  /** What had happened before. */
  readonly phase: string;
  /** Of one that failed, or whose program wrote something else. */
  readonly error?: string;
}

export interface Variant {
  readonly name: string;
  readonly shared: boolean;
  /** Bytes of a node's disk. */
  readonly diskBytes: number;
  /** By their place among the deployments, from 0 to 1. */
  readonly faults?: readonly Fault[];
}

interface Fault {
  readonly at: number;
  readonly name: string;
  readonly happen: (site: PopSite) => Promise<void> | void;
}

/** Everything that happens to the Redis of a site. */
export const redisFaults: readonly Fault[] = [
  { at: 0.2, name: 'Redis is stopped', happen: (site) => site.stopRedis() },
  { at: 0.3, name: 'Redis is there again, empty', happen: (site) => site.startRedis() },
  { at: 0.45, name: 'Redis is flushed', happen: (site) => site.flushRedis() },
  { at: 0.6, name: 'Redis is paused', happen: (site) => site.signalRedis('SIGSTOP') },
  { at: 0.7, name: 'Redis goes on', happen: (site) => site.signalRedis('SIGCONT') },
  {
    at: 0.85,
    name: 'Redis is restarted',
    happen: async (site) => {
      await site.stopRedis();
      site.startRedis();
    },
  },
];

export interface DeploymentsResult {
  readonly variant: Variant;
  readonly deployments: readonly Deployment[];
  /** Files in the caches of all nodes that are not what they should be. */
  readonly wrongFiles: number;
}

/** The nodes of one variant. */
class VariantNodes implements AsyncDisposable {
  readonly variant: Variant;
  readonly nodes: SiteNode[] = [];
  readonly deployments: Deployment[] = [];

  constructor(variant: Variant) {
    this.variant = variant;
  }

  async start(site: PopSite): Promise<void> {
    const { shared, diskBytes, name } = this.variant;
    const shelfBytes = shared ? Math.round(diskBytes * shelfShare) : 0;
    const disk = { cacheSize: `${diskBytes - shelfBytes}`, popSize: `${shelfBytes}` };
    for (let at = 0; at < deploymentNodes; at++) {
      this.nodes.push(await site.node(`${name}-${at}`, { shared, ...disk }));
    }
    for (const node of this.nodes) await node.start(shared ? 1 : 0);
    if (shared) for (const node of this.nodes) await node.start(this.nodes.length);
  }

  async result(): Promise<DeploymentsResult> {
    const wrong = await Promise.all(this.nodes.map((node) => node.wrongFiles()));
    const wrongFiles = wrong.reduce((sum, each) => sum + each, 0);
    return { variant: this.variant, deployments: this.deployments, wrongFiles };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const node of this.nodes) await node.end();
  }
}

/**
 * Deployments of popular images, on one node after the other. Each is done by all variants before the
 * next one: what else the machine does meets all of them.
 */
export async function deploy(
  site: PopSite,
  variants: readonly Variant[],
  count: number,
  referenceOf: (image: string) => string,
): Promise<DeploymentsResult[]> {
  const draw = popularRanks(deployedImages.length, randomOf(1));
  const all = variants.map((variant) => new VariantNodes(variant));
  try {
    for (const each of all) await each.start(site);
    for (let at = 0; at < count; at++) {
      const image = deployedImages[draw()];
      if (!image) continue;
      const order = at % 2 === 0 ? all : all.toReversed();
      for (const each of order) await deployOne(site, each, image, at, count, referenceOf);
    }
    return await Promise.all(all.map((each) => each.result()));
  } finally {
    for (const each of all) await each[Symbol.asyncDispose]();
  }
}

async function deployOne(
  site: PopSite,
  { variant: { faults = [] }, nodes, deployments }: VariantNodes,
  image: DeployedImage,
  at: number,
  count: number,
  referenceOf: (image: string) => string,
): Promise<void> {
  const node = nodes[at % nodes.length];
  if (!node) return;
  const before = await site.linkBytes();
  const fault = faults.find((each) => Math.round(each.at * count) === at);
  const phase = fault?.name ?? deployments.at(-1)?.phase ?? 'nothing';
  const happened = fault && delay(faultAfterMs).then(() => fault.happen(site));
  const run = node.run(referenceOf(image.image), image);
  const ended = await run.catch((error: Error) => error);
  await happened;
  const bytes = (await site.linkBytes()) - before;
  const told = ended instanceof Error ? { ms: 0, error: ended.message } : { ms: ended };
  deployments.push({ image: image.image, bytes, phase, ...told });
}
