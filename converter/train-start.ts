import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { endOnAbort } from '../src/end-on-abort.js';
import { fromSystemError, ThinError } from '../src/errors.js';

/** The exit code of `thin` for what is not there. */
const notFound = 3;
/** Milliseconds that a program has to end in when it is told to, as of `docker stop`. */
const endMs = 10_000;

export interface TrainingPlace {
  /** What the image is called in the store. */
  readonly reference: string;
  /** Flags of `thin` for reaching it. */
  readonly flags: readonly string[];
  /** The version before, if it has another tag. */
  readonly base?: string | undefined;
  readonly signal: AbortSignal;
}

/**
 * Runs the image once on this machine, as a node that has nothing of it, and publishes what it reads.
 * @throws ThinError `unavailable` if the command, or thin, fails
 */
export async function recordStart(place: TrainingPlace, command: readonly string[]): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), 'thinify-record-'));
  const at = ['--root', root];
  const { reference, flags } = place;
  try {
    const { signal } = place;
    await thin(['run', ...at, '--rm', '-q', ...flags, reference, ...command], signal);
    await thin(['daemon', 'stop', ...at, '--force'], signal); // what it read is written then
    await thin([...publishing(place, at), reference], signal);
  } finally {
    const unstoppable = new AbortController().signal;
    await thin(['daemon', 'cleanup', ...at, '--force', '--purge'], unstoppable);
    await rm(root, { recursive: true, force: true });
  }
}

/**
 * Publishes what starts on this machine's node have read; nothing if there were none.
 * @param root of the node, if it is not the usual one
 */
export async function publishRecorded(
  place: TrainingPlace,
  root: string | undefined,
): Promise<void> {
  const at = root === undefined ? [] : ['--root', root];
  await thin([...publishing(place, at), place.reference], place.signal, [0, notFound]);
}

function publishing({ flags, base }: TrainingPlace, at: readonly string[]): string[] {
  return ['hot', 'publish', ...at, ...flags, ...(base === undefined ? [] : ['--base', base])];
}

/** Our standard output is the report's: what thin says goes to standard error. */
async function thin(
  words: readonly string[],
  signal: AbortSignal,
  expected: readonly number[] = [0],
): Promise<void> {
  const program = fileURLToPath(new URL('../src/cli/thin.js', import.meta.url));
  const child = spawn(process.execPath, [program, ...words], { stdio: ['ignore', 2, 2] });
  const code = await exitCodeOf(child, signal);
  if (signal.aborted) {
    throw new ThinError('canceled', `Cannot run thin ${words[0]}: it was given up`);
  }
  if (code !== undefined && expected.includes(code)) return;
  const how = code === undefined ? 'was killed' : `exited with ${code}`;
  throw new ThinError('unavailable', `Cannot learn a start: thin ${words[0]} ${how}`);
}

/**
 * Waits until it has ended; undefined if a signal has ended it. Told to end, thin ends its container
 * first. One that had to be killed leaves that to `thin daemon cleanup`.
 */
async function exitCodeOf(child: ChildProcess, signal: AbortSignal): Promise<number | undefined> {
  using _ = endOnAbort(child, signal, { graceMs: endMs });
  return await new Promise((resolve, reject) => {
    child.once('exit', (code) => resolve(code ?? undefined));
    child.once('error', (error) => reject(fromSystemError('Cannot run thin', error)));
  });
}
