import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import type { NodeStatus } from '../../src/daemon/control-api.js';
import { cleanUp } from '../support/clean-up.js';
import { type CommandResult, type RunCommandOptions, runCommand } from '../support/run-command.js';

/** The programs as people run them; scripts/test builds them first. */
export const thinProgram = fileURLToPath(new URL('../../dist/src/cli/thin.js', import.meta.url));
export const thinifyProgram = fileURLToPath(
  new URL('../../dist/converter/thinify.js', import.meta.url),
);

/** Milliseconds between two looks at a condition, and in all. */
const pollMs = 20;
const pollTimeoutMs = 90_000;
/** Of one command; the longest converts an image. */
const commandMs = 180_000;

export interface TestNode {
  /** For what the test needs beside the node's state; mounts below it are looked for at the end. */
  readonly folder: string;
  readonly root: string;
  /** Environment of commands that are started in another way. */
  readonly env: Readonly<Record<string, string>>;
  /** Runs `thin` to its end, which may be a failure. */
  thin(args: readonly string[], options?: RunCommandOptions): Promise<CommandResult>;
  status(): Promise<NodeStatus>;
  /** Ends the daemon with everything it has mounted, and waits until it is gone. */
  stop(): Promise<void>;
}

/** A node with a state of its own; when the test ends its daemon is gone, and nothing is mounted. */
export function startNode(t: Test, environment: Readonly<Record<string, string>> = {}): TestNode {
  const folder = mkdtempSync(join(tmpdir(), 'thinfs-cli-'));
  const root = join(folder, 'state');
  const env = { THINFS_ROOT: root, THINFS_FREE_SPACE: '0', ...environment };
  const thin: TestNode['thin'] = (args, options) => {
    const call = { timeoutMs: commandMs, mayFail: true, ...options };
    return runCommand(process.execPath, [thinProgram, ...args], {
      ...call,
      env: { ...env, ...options?.env },
    });
  };
  const status = async (): Promise<NodeStatus> => {
    const { code, stdout, stderr } = await thin(['status', '--json']);
    if (code !== 0) throw new Error(`thin status exited with ${code}: ${stderr}`);
    return JSON.parse(stdout);
  };
  const stop = async (): Promise<void> => {
    const { pid } = await status();
    await thin(['daemon', 'stop', '--force']);
    await until(`daemon ${pid} ends`, () => !isAlive(pid));
  };
  cleanUp(t, async () => {
    const { code, stderr } = await thin(['daemon', 'cleanup', '--force']);
    if (code !== 0) throw new Error(`thin daemon cleanup exited with ${code}: ${stderr}`);
    const left = mountsBelow(folder);
    rmSync(folder, { recursive: true, force: true });
    if (left.length > 0) throw new Error(`left mounted: ${left.join(', ')}`);
  });
  return { folder, root, env, thin, status, stop };
}

/**
 * Has the node's daemon wait for reads so long from now on: briefly for what is not to come, and in no
 * test for what is, as a busy machine takes its time.
 */
export async function setReadDeadline(node: TestNode, duration: string): Promise<void> {
  const { code, stderr } = await node.thin(['daemon', 'restart', '--read-deadline', duration]);
  if (code !== 0) throw new Error(`thin daemon restart exited with ${code}: ${stderr}`);
}

/** Polls until `condition` holds. @throws Error if it does not in time */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
): Promise<void> {
  const deadline = Date.now() + pollTimeoutMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Mount points in and below a folder. */
export function mountsBelow(folder: string): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((path) => path === folder || path.startsWith(`${folder}/`));
}

export interface StartedCommand {
  readonly pid: number;
  readonly ended: Promise<{ readonly code: number | null; readonly signal: string | null }>;
  /** All that it has written to standard output. */
  output(): string;
  /** And to standard error. */
  errors(): string;
  kill(signal: NodeJS.Signals): void;
  /** Reads nothing more of its standard output, and closes it. */
  hangUp(): void;
  /** Resolves when standard output has `text`; rejects if the command ends without. */
  printed(text: string): Promise<void>;
}

/** Starts a `thin` command that is to be disturbed while it runs. */
export function startThin(
  t: Test,
  node: TestNode,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): StartedCommand {
  const child = spawn(process.execPath, [thinProgram, ...args], {
    env: { ...process.env, ...node.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [output, errors] = ['', ''];
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text;
  });
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const ended = new Promise<{ code: number | null; signal: string | null }>((resolve) => {
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
  cleanUp(t, () => child.kill('SIGKILL'));
  return {
    pid: child.pid ?? 0,
    ended,
    output: () => output,
    errors: () => errors,
    kill: (signal) => child.kill(signal),
    hangUp: () => void child.stdout.destroy(),
    printed: (text) =>
      until(`${args.join(' ')} prints ${text}`, () => {
        if (output.includes(text)) return true;
        if (child.exitCode === null) return false;
        throw new Error(`thin ${args.join(' ')} has ended without ${text}: ${errors}`);
      }),
  };
}
