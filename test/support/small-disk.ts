import { mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Test } from 'tap';
import { cleanUp } from './clean-up.js';
import { runCommand } from './run-command.js';

/** Milliseconds for the disk's last user to go, and between two looks. */
const unmountMs = 60_000;
const pollMs = 50;

export interface SmallDisk {
  /** Where it is mounted. */
  readonly path: string;
  /** Bytes that can be written. */
  free(): number;
  /** Leaves no more than `bytes` free, until the function that it returns is called. */
  fill(bytes: number): () => void;
}

/** An ext4 of its own, of `mib` MiB, on a loop device; gone when the test `t` ends. */
export async function makeSmallDisk(t: Test, mib: number): Promise<SmallDisk> {
  const folder = mkdtempSync(join(tmpdir(), 'thinfs-disk-'));
  cleanUp(t, () => rmSync(folder, { recursive: true, force: true }));
  const image = join(folder, 'image');
  const path = join(folder, 'disk');
  mkdirSync(path);
  await runCommand('truncate', ['-s', `${mib}M`, image]);
  await runCommand('mkfs.ext4', ['-q', '-F', '-m', '0', '-O', '^has_journal', image]);
  await runCommand('mount', ['-o', 'loop', image, path]);
  cleanUp(t, () => unmount(path));
  const free = (): number => {
    const { bavail, bsize } = statfsSync(path);
    return bavail * bsize;
  };
  const fill = (bytes: number): (() => void) => {
    const ballast = mkdtempSync(join(path, 'ballast-'));
    // The last blocks may go for the file system's own needs: the rest is tried piece by piece.
    for (let n = 0, left = free() - bytes; left > 0; n++, left = free() - bytes) {
      if (!hasWritten(join(ballast, String(n)), left)) break;
    }
    return () => rmSync(ballast, { recursive: true });
  };
  return { path, free, fill };
}

/** A daemon that was told to end has files open until it has. */
async function unmount(path: string): Promise<void> {
  for (const deadline = Date.now() + unmountMs; ; ) {
    const mayFail = Date.now() < deadline;
    if ((await runCommand('umount', [path], { mayFail })).code === 0) return;
    await delay(pollMs);
  }
}

/** False where the disk was full before the end. */
function hasWritten(path: string, bytes: number): boolean {
  try {
    writeFileSync(path, Buffer.alloc(bytes));
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOSPC') return false;
    throw error;
  }
}
