import { isAbsolute } from 'node:path';
import { ThinError } from './errors.js';
import { parseSize } from './units.js';

/** A tier of complete files beside the one in the node's folder. */
export interface TierConfig {
  readonly name: string;
  /** Absolute. */
  readonly directory: string;
  readonly quotaBytes: number;
  readonly freeSpaceFloorBytes: number;
}

/** A tier on a file system that all nodes of a site mount. */
export interface SharedTierConfig {
  /** Absolute. */
  readonly directory: string;
  /** Mounts read it by themselves, without a copy on the node. */
  readonly direct: boolean;
  /** Infinity: as much as there is room for. */
  readonly quotaBytes: number;
  readonly freeSpaceFloorBytes: number;
}

export const tierSyntax = '<name>=<folder>[,size=<size>][,free=<size>]';
export const sharedSyntax = 'shared=<folder>[,direct][,size=<size>][,free=<size>]';
/** Names of the tier in the node's folder, and of the one that all nodes have. */
const ownTier = 'local';
const sharedTier = 'shared';
/** As `--cache-size` and `--free-space` where nothing is said; a fast disk is often a small one. */
const defaultSize = '20G';
const defaultFree = '64M';

/** All that `--tier` says. */
export interface TiersConfig {
  /** Of this node alone, the fastest first. */
  readonly tiers: readonly TierConfig[];
  readonly shared: SharedTierConfig | undefined;
}

/**
 * Reads `fast=/mnt/nvme/thinfs,size=50g,free=1g` and `shared=/mnt/cephfs/thinfs,direct`.
 * @throws ThinError `invalid`
 */
export function parseTiers(texts: readonly string[]): TiersConfig {
  const isShared = (text: string) => text.startsWith(`${sharedTier}=`);
  const [shared, second] = texts.filter(isShared);
  if (second !== undefined) throw malformed(second, 'there is another shared one already');
  return {
    tiers: texts.filter((text) => !isShared(text)).map(parseTier),
    shared: shared === undefined ? undefined : parseShared(shared),
  };
}

/** @throws ThinError `invalid` */
export function parseTier(text: string): TierConfig {
  const { name, directory, settings } = split(text, tierSyntax, ['size', 'free']);
  if (name === ownTier) throw malformed(text, `${ownTier} is the one in the node's own folder`);
  return {
    name,
    directory,
    quotaBytes: parseSize(settings.get('size') ?? defaultSize),
    freeSpaceFloorBytes: parseSize(settings.get('free') ?? defaultFree),
  };
}

function parseShared(text: string): SharedTierConfig {
  const { directory, settings } = split(text, sharedSyntax, ['size', 'free', 'direct']);
  const direct = settings.get('direct');
  if (direct !== undefined && direct !== '') throw malformed(text, `wanted ${sharedSyntax}`);
  const size = settings.get('size');
  return {
    directory,
    direct: direct !== undefined,
    quotaBytes: size === undefined ? Number.POSITIVE_INFINITY : parseSize(size),
    freeSpaceFloorBytes: parseSize(settings.get('free') ?? defaultFree),
  };
}

function split(text: string, syntax: string, known: readonly string[]) {
  const [place = '', ...rest] = text.split(',');
  const at = place.indexOf('=');
  const name = place.slice(0, Math.max(at, 0));
  const directory = place.slice(at + 1);
  if (!/^[a-z][a-z0-9-]*$/.test(name) || !isAbsolute(directory)) {
    throw malformed(text, `wanted ${syntax}, a lower-case name and an absolute folder`);
  }
  const settings = new Map(
    rest.map((setting) => {
      const [key = '', value = ''] = setting.split('=');
      if (!known.includes(key)) throw malformed(text, `wanted ${syntax}`);
      return [key, value];
    }),
  );
  return { name, directory, settings };
}

function malformed(text: string, wanted: string): ThinError {
  return new ThinError('invalid', `Cannot use tier "${text}": ${wanted}`);
}
