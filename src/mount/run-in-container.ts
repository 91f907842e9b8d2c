import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { endOnAbort } from '../end-on-abort.js';
import { killTree } from './process-tree.js';
import type { ContainerKey } from './runc.js';

/** Milliseconds that a command has for ending by itself. */
const endMs = 1_000;

export interface Ending {
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
}

/**
 * Runs a command inside a container; what it writes goes nowhere. When it takes longer, or with the
 * signal, it is ended: with SIGTERM, which the runtime hands on to it, and then killed with what it has begun.
 * @returns whether it exited with 0; false if nothing runs there. Never fails.
 */
export async function runInContainer(
  { runtime, root, id }: ContainerKey,
  command: readonly string[],
  { signal, timeoutMs }: Ending,
): Promise<boolean> {
  if (signal.aborted) return false;
  const child = spawn(runtime, ['--root', root, 'exec', id, ...command], { stdio: 'ignore' });
  const kill = (): void => {
    if (child.pid !== undefined) killTree(child.pid);
  };
  using ending = endOnAbort(child, signal, { graceMs: endMs, kill });
  const late = setTimeout(() => ending.end(), timeoutMs);
  try {
    const [code] = await once(child, 'exit');
    return code === 0;
  } catch {
    return false; // there is no such runtime any more
  } finally {
    clearTimeout(late);
  }
}
