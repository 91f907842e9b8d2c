import { readdir, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { rootLockPlace } from '../cache/layout.js';
import type { NodeConfig } from '../config.js';
import { askDaemon } from '../daemon/holder-client.js';
import type { ServerSettings } from '../daemon/holder-protocol.js';
import { ensureDaemon } from '../daemon/start-daemon.js';
import {
  describeError,
  type ErrorCode,
  fromSystemError,
  isThinError,
  ThinError,
} from '../errors.js';
import { readMountTable } from '../fuse/mount-table.js';
import { detachLeftovers } from '../mount/leftovers.js';
import { holderEnd } from './holder-end.js';

/** Milliseconds in which daemons are ended that come meanwhile, and between two looks for one. */
const endMs = 60_000;
const endPollMs = 20;
/** A daemon that finds its root locked has made folders before. */
const removal = { recursive: true, force: true, maxRetries: 10 };

export interface CleanupOptions {
  /** End also containers that run; do what can be done although no server starts. */
  readonly force: boolean;
  /** Delete the state, too. */
  readonly purge: boolean;
}

/**
 * Ends all that a node has mounted, and its daemon.
 * @throws ThinError `busy` if containers run, unless `force`
 */
export async function cleanUp(
  config: NodeConfig,
  settings: ServerSettings,
  { force, purge }: CleanupOptions,
  signal: AbortSignal,
): Promise<void> {
  // Only a server knows what is mounted where.
  await ensureDaemon(config, settings, signal).catch((error) => {
    if (!force) throw error;
    process.stderr.write(`${describeError(error)}; what it has left is taken away\n`);
  });
  using _lock = await endDaemons(config, force, signal);
  await holderEnd(config.holderSocket, signal);
  for (const folder of [config.runFolder, config.root]) {
    const { alive } = await detachLeftovers(folder);
    if (alive.length > 0) throw stillMounted(alive.map(({ mountPoint }) => mountPoint));
  }
  await rm(config.runFolder, removal);
  if (purge) await deleteState(config.root);
}

/**
 * Ends the daemon, and others as they come: a command whose container was ended starts one to say so.
 * @returns what keeps further ones off; undefined where nothing can be locked
 */
async function endDaemons(
  config: NodeConfig,
  force: boolean,
  signal: AbortSignal,
): Promise<Disposable | undefined> {
  const { RootLock } = await import('../cache/root-lock.js');
  const stop = async (...expected: ErrorCode[]) => {
    await askDaemon(config, { op: 'stop', force, unmount: true }, signal).catch((error) => {
      if (!isThinError(error, 'not-found', ...expected)) throw error;
    });
  };
  await stop();
  const deadline = performance.now() + endMs;
  for (;;) {
    try {
      return RootLock.take([rootLockPlace(config.root)]);
    } catch (error) {
      if (!isThinError(error, 'busy')) return undefined;
      if (performance.now() > deadline) throw error;
    }
    await delay(endPollMs, undefined, { signal });
    await stop('busy'); // that one is ending
  }
}

/** What thinfs makes in a root; nothing else there is ours to delete. */
const stateNames =
  /^(tiers|partial|pinned|suspect|layers|partial-layers|images|containers|mounts|hot|pop|shared-tier|probe|owner|tier\.json(\.new)?|daemon\.log|(lock|index)\.db.*)$/;

const lockName = /^lock\.db/;

async function deleteState(root: string): Promise<void> {
  const mounted = (await readMountTable()).map(({ mountPoint }) => mountPoint);
  const below = mounted.filter((path) => path.startsWith(`${root}/`));
  if (below.length > 0) throw stillMounted(below);
  try {
    for (const name of await readdir(root)) {
      if (stateNames.test(name) && !lockName.test(name)) await rm(join(root, name), removal);
    }
    // Until then a daemon that is started meanwhile is kept off.
    for (const name of await readdir(root)) {
      if (lockName.test(name)) await rm(join(root, name), removal);
    }
    await rmdir(root).catch(() => {}); // it has other files, or is a mount point
  } catch (cause) {
    const error = fromSystemError(`Cannot delete the state in ${root}`, cause);
    if (error.code !== 'not-found') throw error;
  }
}

function stillMounted(paths: readonly string[]): ThinError {
  return new ThinError('busy', `Cannot clean up: mounted are ${paths.join(', ')}`);
}
