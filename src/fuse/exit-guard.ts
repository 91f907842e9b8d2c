import { spawnSync } from 'node:child_process';
import type { ConnectionControl } from './connection.js';
import { fusermountPrograms, mayMount } from './kernel-mount.js';
import { threadState } from './object-worker-messages.js';

/** Milliseconds for each of the programs run while this process exits. */
const stepTimeoutMs = 5_000;
/** Requests that are made to wake a thread, before this process kills itself. */
const wakingsMax = 8;
/** Milliseconds for each of them: the last thread may have ended by itself, and nobody answers. */
const wakingMs = 500;
/** Milliseconds in which a thread that is not asleep, or was woken, comes to its end. */
const endMs = 20;

const releases = new Set<() => void>();

/**
 * Makes sure that this process can exit although threads of it wait for requests of a mount: Node
 * joins its threads at exit, and would wait for ever. Covers process.exit() and uncaught errors.
 * @param release ends the threads at once; see below
 * @returns the function that takes the guard off
 */
export function guardExit(release: () => void): () => void {
  if (releases.size === 0) process.on('exit', releaseAll);
  releases.add(release);
  return () => {
    releases.delete(release);
    if (releases.size === 0) process.off('exit', releaseAll);
  };
}

function releaseAll(): void {
  for (const release of releases) release();
}

export interface GuardedMount {
  readonly mountPoint: string;
  readonly control: ConnectionControl;
  /** Threads of this process that wait for its requests, and how they are told to end. */
  readonly threads: number;
  stop(): void;
}

/** Ends the threads of a mount that ends with this process. */
export function releaseMount({ mountPoint, control, threads, stop }: GuardedMount): void {
  stop();
  const aborted = control.abort();
  if (mayMount()) {
    run('umount', ['-i', '-c', '-f', '-l', mountPoint]);
    return;
  }
  // One request wakes one thread, which then ends; statistics are never cached by the kernel.
  if (!aborted) for (let thread = 0; thread < threads; thread++) run('stat', ['-f', mountPoint]);
  fusermountPrograms.find((program) => run(program, ['-u', '-z', '--', mountPoint]));
}

/**
 * Ends the threads of a mount that outlives this process.
 * @param states of each thread, as `threadState` tells
 */
export function releaseThreads(mountPoint: string, states: readonly Int32Array[]): void {
  for (const state of states) Atomics.store(state, threadState.stop, 1);
  const running = () => states.find((state) => Atomics.load(state, threadState.ended) === 0);
  for (let waking = 0; waking < wakingsMax; waking++) {
    const state = running();
    if (!state) return;
    if (Atomics.wait(state, threadState.ended, 0, endMs) === 'timed-out') {
      run('stat', ['-f', mountPoint], wakingMs);
    }
  }
  if (running()) process.kill(process.pid, 'SIGKILL');
}

function run(program: string, args: readonly string[], timeout = stepTimeoutMs): boolean {
  // One that was stopped (SIGSTOP) while the kernel has it wait for us takes no signal but this.
  const options = { stdio: 'ignore', timeout, killSignal: 'SIGKILL' } as const;
  return spawnSync(program, args, options).status === 0;
}
