import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { cacheLayout, fanOut, localTier, tierDirectory } from '../../src/cache/layout.js';
import { digestHex, digestOf } from '../../src/digest.js';

/** Paths of all complete files of the local tier under their final names. */
export function tierFiles(root: string): string[] {
  return filesIn(tierDirectory(root, localTier));
}

/** Paths of all complete files of one tier's directory. */
export function filesIn(directory: string): string[] {
  return fanOut.flatMap((name) =>
    readdirSync(join(directory, name)).map((file) => join(directory, name, file)),
  );
}

export function partialFiles(root: string): string[] {
  const { partial } = cacheLayout(root);
  return readdirSync(partial).map((file) => join(partial, file));
}

/** Those whose content is not what their name says. */
export function wrongTierFiles(root: string): string[] {
  return wrongFilesIn(tierDirectory(root, localTier));
}

/** The same in one tier's directory. */
export function wrongFilesIn(directory: string): string[] {
  return filesIn(directory).filter((path) => {
    return !path.endsWith(digestHex(digestOf(readFileSync(path))));
  });
}
