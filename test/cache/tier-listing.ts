import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { cacheLayout, fanOut } from '../../src/cache/layout.js';
import { digestHex, digestOf } from '../../src/digest.js';

/** Paths of all complete files under their final names. */
export function tierFiles(root: string): string[] {
  const { tier } = cacheLayout(root);
  return fanOut.flatMap((name) =>
    readdirSync(join(tier, name)).map((file) => join(tier, name, file)),
  );
}

export function partialFiles(root: string): string[] {
  const { partial } = cacheLayout(root);
  return readdirSync(partial).map((file) => join(partial, file));
}

/** Those whose content is not what their name says. */
export function wrongTierFiles(root: string): string[] {
  return tierFiles(root).filter((path) => !path.endsWith(digestHex(digestOf(readFileSync(path)))));
}
