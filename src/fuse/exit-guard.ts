import { spawnSync } from 'node:child_process';
import { abortNow } from './connection.js';
import { fusermountPrograms, mayMount } from './kernel-mount.js';

/** Milliseconds for each of the programs run while this process exits. */
const stepTimeoutMs = 5_000;

export interface GuardedMount {
  readonly mountPoint: string;
  /** `major:minor` of the mount. */
  readonly device: string;
  /** Threads of this process that wait for its requests, and how they are told to end. */
  readonly threads: number;
  stop(): void;
}

const guarded = new Set<GuardedMount>();

/**
 * Makes sure that this process can exit although threads of it wait for requests of a mount: Node
 * joins its threads at exit, and would wait for ever. Covers process.exit() and uncaught errors.
 * @returns the function that takes the guard off
 */
export function guardExit(mount: GuardedMount): () => void {
  if (guarded.size === 0) process.on('exit', releaseMounts);
  guarded.add(mount);
  return () => {
    guarded.delete(mount);
    if (guarded.size === 0) process.off('exit', releaseMounts);
  };
}

function releaseMounts(): void {
  for (const { mountPoint, device, threads, stop } of guarded) {
    stop();
    const aborted = abortNow(device);
    if (mayMount()) {
      run('umount', ['-i', '-c', '-f', '-l', mountPoint]);
      continue;
    }
    // One request wakes one thread, which then ends; statistics are never cached by the kernel.
    if (!aborted) for (let thread = 0; thread < threads; thread++) run('stat', ['-f', mountPoint]);
    fusermountPrograms.find((program) => run(program, ['-u', '-z', '--', mountPoint]));
  }
}

function run(program: string, args: readonly string[]): boolean {
  return spawnSync(program, args, { stdio: 'ignore', timeout: stepTimeoutMs }).status === 0;
}
