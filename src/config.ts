import { createHash } from 'node:crypto';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseSize } from './units.js';

/**
 * Where one node keeps its state and how much it may use. Read once, here, from the command line
 * first and the environment second; each part is then given its own few fields.
 */
export interface NodeConfig {
  /** Absolute folder of tiers, images, containers. */
  readonly root: string;
  /** Absolute folder of sockets and of the mounts that containers share; empty after a boot. */
  readonly runFolder: string;
  /** Control socket of the daemon of this root. */
  readonly socket: string;
  /** Socket of the process that keeps that daemon running. */
  readonly holderSocket: string;
  /** Bytes that cached files may occupy. */
  readonly cacheSize: number;
  /** Bytes that stay free on the cache's file system. */
  readonly freeSpaceFloor: number;
}

export interface NodeOptions {
  readonly root?: string | undefined;
  readonly cacheSize?: string | undefined;
  readonly freeSpace?: string | undefined;
}

export const defaultCacheSize = '20G';
export const defaultFreeSpace = '1G';

type Environment = Readonly<Record<string, string | undefined>>;

/** @throws ThinError `invalid` if a size cannot be read. */
export function nodeConfig(
  options: NodeOptions,
  environment: Environment,
  uid: number,
): NodeConfig {
  return {
    ...nodeFolders(options.root, environment, uid),
    cacheSize: parseSize(options.cacheSize ?? environment.THINFS_CACHE_SIZE ?? defaultCacheSize),
    freeSpaceFloor: parseSize(
      options.freeSpace ?? environment.THINFS_FREE_SPACE ?? defaultFreeSpace,
    ),
  };
}

export type NodeFolders = Pick<NodeConfig, 'root' | 'runFolder' | 'socket' | 'holderSocket'>;

/** Where things are, whatever the sizes say. @param root as given on the command line */
export function nodeFolders(
  root: string | undefined,
  environment: Environment,
  uid: number,
): NodeFolders {
  const folder = resolve(root ?? environment.THINFS_ROOT ?? defaultRoot(environment, uid));
  const name = createHash('sha256').update(folder).digest('hex').slice(0, 12);
  const runFolder = join(defaultRunFolder(environment, uid), name);
  return {
    root: folder,
    runFolder,
    socket: join(runFolder, 'control.sock'),
    holderSocket: join(runFolder, 'holder.sock'),
  };
}

function defaultRoot(environment: Environment, uid: number): string {
  if (uid === 0) return '/var/lib/thinfs';
  return join(environment.XDG_DATA_HOME ?? join(homedir(), '.local/share'), 'thinfs');
}

function defaultRunFolder(environment: Environment, uid: number): string {
  if (uid === 0) return '/run/thinfs';
  return join(environment.XDG_RUNTIME_DIR ?? `/tmp/thinfs-${uid}`, 'thinfs');
}
