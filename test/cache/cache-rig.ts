import { mkdtempSync, rmSync } from 'node:fs';
import { type Disk, nodeDisk } from '../../src/cache/disk.js';
import { type CacheOptions, FileCache } from '../../src/cache/file-cache.js';
import { cleanUp, type Teardown } from '../support/clean-up.js';
import { InlineIndex } from './inline-index.js';

export const signal = new AbortController().signal;

/** A directory of the test's own, removed after it; in memory, as the disk is everybody's. */
export function scratchDirectory(t: Teardown): string {
  const directory = mkdtempSync('/dev/shm/thinfs-cache-');
  cleanUp(t, () => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Without syncs: that of a file system which everybody here writes to takes seconds. */
export const quickDisk: Disk = { ...nodeDisk, sync: async () => undefined };

export interface LogLine {
  readonly details: object;
  readonly message: string;
}

/** Cache options for tests: a large quota, the index without a thread, and the log in an array. */
export function cacheOptions(
  root: string,
  changes: Partial<CacheOptions> = {},
): CacheOptions & { readonly lines: LogLine[] } {
  const lines: LogLine[] = [];
  const note = (details: object, message: string) => void lines.push({ details, message });
  return {
    root,
    quotaBytes: 1e9,
    freeSpaceFloorBytes: 0,
    log: { info: note, warn: note },
    openIndex: InlineIndex.open,
    disk: quickDisk,
    lines,
    ...changes,
  };
}

/** An open cache that the test's end closes. */
export async function openCache(
  t: Teardown,
  root: string,
  changes: Partial<CacheOptions> = {},
): Promise<FileCache> {
  const cache = await FileCache.open(cacheOptions(root, changes));
  cleanUp(t, () => cache[Symbol.asyncDispose]());
  return cache;
}

/** Repeats `check` until it is true; fails after a minute. */
export async function until(check: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!(await check())) {
    if (Date.now() > deadline) throw new Error(`Still not true after a minute: ${check}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
