import { spawn } from 'node:child_process';
import { text as textOf } from 'node:stream/consumers';

export interface RunCommandOptions {
  readonly cwd?: string;
  /** Added to the environment of this process; `undefined` removes a variable. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Written to standard input, which is empty otherwise. */
  readonly input?: string | Buffer;
  readonly signal?: AbortSignal;
  /** The command is killed after this time. Default: {@link commandTimeoutMs}. */
  readonly timeoutMs?: number;
  /** Resolve although the command failed, so that the caller can look at how. */
  readonly mayFail?: boolean;
}

export interface CommandResult {
  /** Exit code; `null` if a signal ended the command. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Long enough for the slowest installation or conversion on two busy cores. */
export const commandTimeoutMs = 600_000;

/** Of the output of a failed command, this much is told: its last characters. */
const toldCharactersMax = 4_000;

/**
 * Runs a program to its end, without a shell.
 * @throws Error if it cannot be started, does not exit with 0 (unless `mayFail`) or takes too long.
 */
export async function runCommand(
  command: string,
  args: readonly string[],
  options: RunCommandOptions = {},
): Promise<CommandResult> {
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    signal: options.signal,
    timeout: options.timeoutMs ?? commandTimeoutMs,
    killSignal: 'SIGKILL',
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const ended = new Promise<Pick<CommandResult, 'code' | 'signal'>>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
  child.stdin.on('error', ignoreClosedPipe);
  child.stdin.end(options.input);
  const [end, stdout, stderr] = await Promise.all([
    ended,
    textOf(child.stdout),
    textOf(child.stderr),
  ]);
  if (end.code !== 0 && !options.mayFail) throw failure(command, args, end, stdout + stderr);
  return { ...end, stdout, stderr };
}

/** A command may exit without reading its input; its exit code says whether that is a failure. */
function ignoreClosedPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error;
}

function failure(
  command: string,
  args: readonly string[],
  end: Pick<CommandResult, 'code' | 'signal'>,
  output: string,
): Error {
  const how = end.signal ? `it was ended by ${end.signal}` : `it exited with ${end.code}`;
  const told = output.slice(-toldCharactersMax).trim();
  return new Error(`Cannot run ${[command, ...args].join(' ')}: ${how} (wanted 0)\n${told}`);
}
