import { describeError, isThinError } from '../errors.js';
import { openFuseNativeTree } from './fuse-native-server.js';
import { openRawTree } from './raw-tree-server.js';
import type { TreeServer, TreeServerOptions } from './tree-server.js';

/**
 * Mounts a tree with the best server that works here.
 * @param onFallback told why it is the second best
 * @throws ThinError of the best one if none works
 */
export async function openTree(
  options: TreeServerOptions,
  onFallback: (reason: string) => void,
): Promise<TreeServer> {
  try {
    return await openRawTree(options);
  } catch (error) {
    // Only what the other server does not need: the addon, a recent kernel.
    if (!isThinError(error, 'unavailable')) throw error;
    const server = await openFuseNativeTree(options).catch(() => undefined);
    if (!server) throw error;
    onFallback(`mounted with fuse-native: ${describeError(error)}`);
    return server;
  }
}
