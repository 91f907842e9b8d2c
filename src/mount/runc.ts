import { type ChildProcess, spawn } from 'node:child_process';
import { constants as access, accessSync, existsSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { delimiter, isAbsolute, join } from 'node:path';
import type { Readable } from 'node:stream';
import { fromSystemError, ThinError } from '../errors.js';
import { type ProgramResult, runProgram } from '../fuse/run-program.js';
import type { ContainerState } from './runtime-output.js';

/** One container of an OCI runtime. */
export interface ContainerKey {
  readonly id: string;
  /** Absolute path of the runtime's program; see {@link findRuntime}. */
  readonly runtime: string;
  /** Where the runtime keeps its state: absolute, on a file system that a reboot empties. */
  readonly root: string;
}

export interface ContainerRun extends ContainerKey {
  /** Absolute path of the bundle. */
  readonly bundle: string;
  /** Whether the command reads our standard input, or nothing. */
  readonly stdin: boolean;
  /** Told once when a line of its output has the text. Its output is no terminal then. */
  readonly line?: { readonly text: string; readonly onLine: () => void };
}

export interface RunningContainer {
  /** Sends a signal to the command; SIGKILL and SIGSTOP only through {@link killContainer}. */
  signal(name: NodeJS.Signals): void;
  /**
   * The command's exit code, 128 and its number for a signal; as docker's, 127 if there is no such
   * command and 126 if it cannot be run. Rejects with a ThinError `unavailable` if the runtime
   * failed before.
   */
  readonly exitCode: Promise<number>;
}

const programs = ['runc', 'crun'] as const;

/** Docker's exit codes for a command that is missing, and one that is no program. */
const exitCodes = { notFound: 127, notExecutable: 126 } as const;

/**
 * @param wanted absolute path or name of a runtime; the first of runc and crun in the PATH if absent
 * @returns its absolute path
 * @throws ThinError `not-found`
 */
export function findRuntime(wanted?: string): string {
  const directories = (process.env.PATH ?? '').split(delimiter).filter(Boolean);
  for (const program of wanted === undefined ? programs : [wanted]) {
    const places = isAbsolute(program) ? [program] : directories.map((at) => join(at, program));
    const path = places.find(isExecutable);
    if (path) return path;
  }
  const what =
    wanted === undefined
      ? 'there is neither runc nor crun (wanted one: apt-get install runc)'
      : `there is no program ${wanted}`;
  throw new ThinError('not-found', `Cannot run containers: ${what}`);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, access.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * Runs a container in the foreground, with our standard streams. The runtime is in a session of
 * its own: what is typed at the terminal reaches it once, by {@link RunningContainer.signal}.
 * @throws ThinError `not-found` if there is no bundle
 */
export function runContainer(run: ContainerRun): RunningContainer {
  const log = join(run.bundle, 'runtime.log');
  emptyLog(log);
  const args = [...globalOptions(run, log), 'run', '--bundle', run.bundle, run.id];
  const output = run.line ? 'pipe' : 'inherit';
  const child = spawn(run.runtime, args, {
    stdio: [run.stdin ? 'inherit' : 'ignore', output, output],
    detached: true,
  });
  if (run.line) watchOutput(child, run.line);
  const ended = new Promise<number>((resolve, reject) => {
    child.once('error', (error) => reject(fromSystemError('Cannot run the container', error)));
    child.once(run.line ? 'close' : 'exit', (code: number | null, signal: NodeJS.Signals | null) =>
      resolve(code ?? 128 + constants.signals[signal ?? 'SIGKILL']),
    );
  });
  return {
    signal: (name) => void child.kill(name),
    exitCode: ended.then((code) => (code === 0 ? 0 : explainExit(code, run.id, log))),
  };
}

/** Bytes of a line that are looked at: what has none for longer is no text. */
const lineBytesMax = 64 * 1024;

/** Hands its output on as it comes, and looks for the line. */
function watchOutput(
  child: ChildProcess,
  { text, onLine }: NonNullable<ContainerRun['line']>,
): void {
  let found = false;
  const wanted = Buffer.from(text).toString('latin1'); // a character may come in two pieces
  const watch = (from: Readable | null, to: NodeJS.WriteStream) => {
    let last = '';
    from?.on('data', (bytes: Buffer) => {
      if (found) return;
      last = (last + bytes.toString('latin1')).slice(-lineBytesMax);
      found = last.split('\n').some((line) => line.includes(wanted));
      last = last.slice(last.lastIndexOf('\n') + 1);
      if (found) onLine();
    });
    // Who read it is gone: the command is told by its own pipe, as if it had been given ours.
    to.on('error', () => from?.destroy());
    from?.pipe(to, { end: false });
  };
  watch(child.stdout, process.stdout);
  watch(child.stderr, process.stderr);
}

/** An error of an earlier run would be taken for this one's. */
function emptyLog(log: string): void {
  try {
    writeFileSync(log, '', { mode: 0o600 });
  } catch (error) {
    throw fromSystemError('Cannot run the container', error);
  }
}

function globalOptions({ root }: ContainerKey, log: string): string[] {
  return ['--root', root, '--log', log, '--log-format', 'json'];
}

/** Tells a command that failed from a runtime that did: only the latter logs an error. */
async function explainExit(code: number, id: string, log: string): Promise<number> {
  const failure = await lastError(log);
  if (failure === undefined) return code;
  if (/exec.*(executable file not found|no such file or directory)/i.test(failure)) {
    return exitCodes.notFound;
  }
  if (/exec.*(permission denied|exec format error|is a directory)/i.test(failure)) {
    return exitCodes.notExecutable;
  }
  throw new ThinError('unavailable', `Cannot start container ${id}: ${failure}`);
}

async function lastError(log: string): Promise<string | undefined> {
  let text: string;
  try {
    text = await readFile(log, 'utf8');
  } catch {
    return undefined; // nothing was logged
  }
  if (text === '') return undefined;
  return (await import('./runtime-output.js')).lastLoggedError(text);
}

/** What runc and crun say of a container that they know nothing of. */
const unknownContainer =
  /container .*does not exist|error opening file .*\/status.*: no such file/i;

/**
 * What the runtime knows of a container; `undefined` if nothing.
 * @throws ThinError `unavailable` if it cannot tell
 */
export async function containerState(key: ContainerKey): Promise<ContainerState | undefined> {
  const result = await runRuntime(key, ['state', key.id]);
  const action = `Cannot read the state of container ${key.id}`;
  if (result.code !== 0) {
    if (unknownContainer.test(result.stderr) || !existsSync(join(key.root, key.id)))
      return undefined;
    throw new ThinError('unavailable', `${action}: ${result.stderr}`);
  }
  const { parseContainerState } = await import('./runtime-output.js');
  const state = parseContainerState(result.stdout);
  if (state) return state;
  throw new ThinError('unavailable', action);
}

/**
 * Sends a signal to a container's command.
 * @throws ThinError `not-found` if it does not run
 */
export async function killContainer(key: ContainerKey, signal: NodeJS.Signals): Promise<void> {
  const result = await runRuntime(key, ['kill', key.id, signal]);
  if (result.code === 0) return;
  throw new ThinError('not-found', `Cannot send ${signal} to ${key.id}: ${result.stderr}`);
}

/** Ends a container, whatever it does, and forgets it. That it is not there is no error. */
export async function deleteContainer(key: ContainerKey): Promise<void> {
  // What ran in the foreground is forgotten by the runtime itself: spare a program's start.
  if (!existsSync(join(key.root, key.id))) return;
  const result = await runRuntime(key, ['delete', '--force', key.id]);
  if (result.code === 0 || (await containerState(key)) === undefined) return;
  throw new ThinError('unavailable', `Cannot delete container ${key.id}: ${result.stderr}`);
}

function runRuntime(key: ContainerKey, args: readonly string[]): Promise<ProgramResult> {
  return runProgram(key.runtime, ['--root', key.root, ...args]);
}
