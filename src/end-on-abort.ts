import type { ChildProcess } from 'node:child_process';

/** A program that has to end; what is disposed ends nothing any more. */
export interface Ending extends Disposable {
  /** Asks it to end, and kills it if it does not. */
  end(): void;
}

export interface EndingOptions {
  /** Milliseconds that it has for ending by itself. */
  readonly graceMs: number;
  /** Kills it; SIGKILL to it alone if not given. */
  readonly kill?: () => void;
}

/** Ends a program with the signal: with SIGTERM first. To be disposed when it has ended. */
export function endOnAbort(
  child: ChildProcess,
  signal: AbortSignal,
  { graceMs, kill = () => void child.kill('SIGKILL') }: EndingOptions,
): Ending {
  let killing: NodeJS.Timeout | undefined;
  let disposed = false;
  const end = (): void => {
    if (disposed) return;
    child.kill('SIGTERM');
    killing ??= setTimeout(kill, graceMs);
  };
  signal.addEventListener('abort', end, { once: true });
  if (signal.aborted) end();
  return {
    end,
    [Symbol.dispose]: () => {
      disposed = true;
      signal.removeEventListener('abort', end);
      clearTimeout(killing);
    },
  };
}
