import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { fromSystemError, ThinError } from '../errors.js';

export interface ProgramResult {
  /** Exit code; `undefined` if a signal ended it. */
  readonly code: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProgramOptions {
  /** Descriptors the program gets as 3, 4, … */
  readonly descriptors?: readonly number[];
  readonly env?: Readonly<Record<string, string>>;
}

/** Longer than any mount or container operation takes; a program that hangs is killed then. */
const programTimeoutMs = 60_000;

/**
 * Runs a short system program to its end, with messages in English and no input.
 * @throws ThinError `not-found` if there is no such program
 */
export async function runProgram(
  program: string,
  args: readonly string[],
  options: ProgramOptions = {},
): Promise<ProgramResult> {
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe', ...(options.descriptors ?? [])],
    env: { ...process.env, LC_ALL: 'C', ...options.env },
    timeout: programTimeoutMs,
    killSignal: 'SIGKILL',
  });
  const ended = new Promise<number | undefined>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code ?? undefined));
  });
  if (!child.stdout || !child.stderr) {
    throw new ThinError('unavailable', `Cannot run ${program}: no pipes to read its output from`);
  }
  try {
    const [code, stdout, stderr] = await Promise.all([
      ended,
      text(child.stdout),
      text(child.stderr),
    ]);
    return { code, stdout: stdout.trim(), stderr: stderr.trim() };
  } catch (error) {
    throw fromSystemError(`Cannot run ${program}`, error);
  }
}
