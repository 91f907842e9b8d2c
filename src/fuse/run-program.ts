import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { fromSystemError } from '../errors.js';

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
 * @throws ThinError `not-found` if there is no such program; `unavailable` if no process can be had
 */
export async function runProgram(
  program: string,
  args: readonly string[],
  options: ProgramOptions = {},
): Promise<ProgramResult> {
  try {
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
    // For want of descriptors there are no pipes, and it fails.
    const said = [child.stdout, child.stderr].map((from) => (from ? text(from) : ''));
    const [code, stdout = '', stderr = ''] = await Promise.all([ended, ...said]);
    return { code, stdout: stdout.trim(), stderr: stderr.trim() };
  } catch (error) {
    throw fromSystemError(`Cannot run ${program}`, error);
  }
}
