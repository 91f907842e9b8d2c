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

export const tierSyntax = '<name>=<folder>[,size=<size>][,free=<size>]';
/** Name of the tier in the node's folder. */
const ownTier = 'local';
/** As `--cache-size` and `--free-space` where nothing is said; a fast disk is often a small one. */
const defaultSize = '20G';
const defaultFree = '64M';

/**
 * Reads `fast=/mnt/nvme/thinfs,size=50g,free=1g`.
 * @throws ThinError `invalid`
 */
export function parseTier(text: string): TierConfig {
  const [place = '', ...settings] = text.split(',');
  const at = place.indexOf('=');
  const name = place.slice(0, Math.max(at, 0));
  const directory = place.slice(at + 1);
  if (!/^[a-z][a-z0-9-]*$/.test(name) || !isAbsolute(directory)) {
    throw malformed(text, `wanted ${tierSyntax}, a lower-case name and an absolute folder`);
  }
  if (name === ownTier) throw malformed(text, `${ownTier} is the one in the node's own folder`);
  const sizes = new Map(
    settings.map((setting) => {
      const [key = '', value = ''] = setting.split('=');
      if (key !== 'size' && key !== 'free') throw malformed(text, `wanted ${tierSyntax}`);
      return [key, value];
    }),
  );
  return {
    name,
    directory,
    quotaBytes: parseSize(sizes.get('size') ?? defaultSize),
    freeSpaceFloorBytes: parseSize(sizes.get('free') ?? defaultFree),
  };
}

function malformed(text: string, wanted: string): ThinError {
  return new ThinError('invalid', `Cannot use tier "${text}": ${wanted}`);
}
