import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { cleanUp, type Teardown } from '../support/clean-up.js';

const program = fileURLToPath(new URL('./serve-tree.program.ts', import.meta.url));

export interface ServerProcess {
  readonly child: ChildProcess;
  /** The first line it said: `ready <implementation>`; empty if it ended without one. */
  readonly ready: string;
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  /** What it said on stderr until now. */
  stderr(): string;
}

/**
 * Starts serve-tree.program.ts and waits until it serves or has ended.
 * @param runAs a command that runs another as somebody else, with its arguments
 */
export async function startServerProcess(
  t: Teardown,
  args: readonly string[],
  runAs: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): Promise<ServerProcess> {
  const [command = '', ...rest] = [...runAs, process.execPath, '--import', 'tsx', program, ...args];
  const child = spawn(command, rest, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal }));
  cleanUp(t, async () => {
    child.kill('SIGKILL');
    await ended;
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  let stdout = '';
  child.stdout.setEncoding('utf8');
  const said = new Promise<void>((resolve) => {
    child.stdout.on('data', (text: string) => {
      stdout += text;
      if (stdout.includes('\n')) resolve();
    });
  });
  await Promise.race([said, ended]);
  return { child, ready: stdout.trim(), ended, stderr: () => stderr };
}
