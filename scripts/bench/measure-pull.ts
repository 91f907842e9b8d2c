import { pullModes } from '../../src/pull/pull-mode.js';
import { pushToRegistry } from '../../test/support/images.js';
import { ensureImage } from '../images/image-cache.js';
import { readImage } from '../images/image-manifest.js';
import type { ImageName } from '../images/recipes.js';
import { LoopbackRegistry } from './loopback-registry.js';
import { type Figure, type Measurement, median, RunCosts } from './measurement.js';
import {
  containerdClient,
  onlyTheBytes,
  type PullCost,
  thinClient,
  umociClient,
} from './pull-clients.js';
import { RateLink } from './rate-link.js';

/** Of the process that pulls, in megabytes (10^6). */
const memoryMost = 150;
/** Times the time to move the bytes, where the link is the slowest. */
const linkRatioMost = 1.05;
/** Times the time of the slowest resource, where that is not the link. */
const resourceRatioMost = 1.1;

export interface PullComparison {
  readonly image: ImageName;
  /** Megabits a second; the loopback if undefined. */
  readonly link?: number;
  /** Time of `auto`, as a part of containerd's, at most. */
  readonly ratioMost?: number;
}

/** How a pull is called, and what it is compared with; `pull-plot.ts` reads names back. */
export function pullName({ image, link }: Pick<PullComparison, 'image' | 'link'>): string {
  return `pull ${image}, ${link === undefined ? 'no limit' : `${link} Mbit/s`}`;
}

/** A pull of one image by containerd, skopeo with umoci, and each of our modes. */
export function pullAgainstClients({ image, link, ratioMost }: PullComparison): Measurement {
  return {
    name: pullName({ image, ...(link !== undefined && { link }) }),
    open: async (scratch, owned) => {
      const rate = link === undefined ? undefined : owned.use(await RateLink.open(link));
      const listen = rate === undefined ? '127.0.0.1' : '0.0.0.0';
      const registry = owned.use(await LoopbackRegistry.open(scratch, 0, listen));
      const source = await readImage(await ensureImage(image));
      await pushToRegistry(source, `127.0.0.1:${registry.port}/${image}:1`);
      const reference = `${rate?.address ?? '127.0.0.1'}:${registry.port}/${image}:1`;
      const behind = (words: readonly string[]) => rate?.behind(words) ?? [...words];
      const place = { folder: scratch, behind };
      const clients = [
        containerdClient(place),
        umociClient(place),
        ...pullModes.map((mode) => thinClient(mode, place)),
        onlyTheBytes(place),
      ];
      const costs = new RunCosts<PullCost>();
      return {
        unit: 'ms',
        contenders: clients.map(({ name, pull }) => costs.contender(name, () => pull(reference))),
        figures: async () => figuresOf(costs, link !== undefined, ratioMost),
      };
    },
  };
}

function figuresOf(
  costs: RunCosts<PullCost>,
  limited: boolean,
  ratioMost: number | undefined,
): Figure[] {
  const time = (client: string) => median(costs.of(client).map(({ milliseconds }) => milliseconds));
  const toContainerd = time('thin, auto') / time('containerd');
  const toBytes = time('thin, auto') / time('only the bytes');
  const coresMs = median(costs.of('thin, auto').map((cost) => cost.coresMs ?? Number.NaN));
  const isLinkSlowest = limited && !(coresMs > time('only the bytes'));
  const toCores = time('thin, auto') / coresMs;
  const most = ratioMost === undefined ? {} : { most: ratioMost };
  const linkMost = isLinkSlowest ? { most: linkRatioMost } : {};
  const coresMost = isLinkSlowest ? {} : { most: resourceRatioMost };
  const peaks = [...costs].flatMap(([name, all]) => {
    const peak = Math.max(...all.map(({ peakMemory }) => peakMemory ?? 0));
    const value = Math.round(peak / 1e6);
    return peak > 0 ? [{ name: `${name}: peak memory`, unit: 'MB', value, most: memoryMost }] : [];
  });
  const ratios = [
    { name: 'auto / containerd', unit: '', value: toContainerd, ...most },
    { name: 'auto / only the bytes', unit: '', value: toBytes, ...linkMost },
    { name: 'auto / the cores, all of them busy', unit: '', value: toCores, ...coresMost },
  ];
  // With --only, one of the two may not have run.
  return [...ratios.filter(({ value }) => !Number.isNaN(value)), ...peaks];
}
