import { spawnSync } from 'node:child_process';
import { detachArguments, fusermountPrograms, mayMount } from './kernel-mount.js';

/** Milliseconds for each of the programs run while this process exits. */
const stepTimeoutMs = 5_000;

interface Guarded {
  readonly mountPoint: string;
  readonly stopThreads: () => void;
}

const guarded = new Set<Guarded>();

/**
 * Makes sure that this process can exit although threads of it wait for requests of a mount: Node
 * joins its threads at exit, and would wait for ever. Covers process.exit() and uncaught errors.
 * @returns the function that takes the guard off
 */
export function guardExit(mountPoint: string, stopThreads: () => void): () => void {
  const entry = { mountPoint, stopThreads };
  if (guarded.size === 0) process.on('exit', releaseMounts);
  guarded.add(entry);
  return () => {
    guarded.delete(entry);
    if (guarded.size === 0) process.off('exit', releaseMounts);
  };
}

function releaseMounts(): void {
  for (const { mountPoint, stopThreads } of guarded) {
    stopThreads();
    detach(mountPoint);
  }
}

function detach(mountPoint: string): void {
  if (mayMount()) run('umount', detachArguments(mountPoint));
  else fusermountPrograms.find((program) => run(program, ['-u', '-z', '--', mountPoint]));
}

function run(program: string, args: readonly string[]): boolean {
  return spawnSync(program, args, { stdio: 'ignore', timeout: stepTimeoutMs }).status === 0;
}
