import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { ContainerKey } from './runc.js';

/** Milliseconds that a command has for ending by itself. */
const endMs = 1_000;

export interface Ending {
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
}

/**
 * Runs a command inside a container; what it writes goes nowhere. When it takes longer, or with the
 * signal, it is ended: with SIGTERM, which the runtime hands on to it, and then without being waited for.
 * @returns whether it exited with 0; false if nothing runs there. Never fails.
 */
export async function runInContainer(
  { runtime, root, id }: ContainerKey,
  command: readonly string[],
  { signal, timeoutMs }: Ending,
): Promise<boolean> {
  if (signal.aborted) return false;
  const child = spawn(runtime, ['--root', root, 'exec', id, ...command], { stdio: 'ignore' });
  let kill: NodeJS.Timeout | undefined;
  const end = (): void => {
    child.kill('SIGTERM');
    kill ??= setTimeout(() => child.kill('SIGKILL'), endMs);
  };
  const late = setTimeout(end, timeoutMs);
  signal.addEventListener('abort', end, { once: true });
  try {
    const [code] = await once(child, 'exit');
    return code === 0;
  } catch {
    return false; // there is no such runtime any more
  } finally {
    clearTimeout(late);
    clearTimeout(kill);
    signal.removeEventListener('abort', end);
  }
}
