import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { describeError, isThinError } from '../errors.js';
import { exitCodeHelp, exitCodeOf, exitCodes } from './exit-code.js';

/** The version in package.json, found from `src/cli` and from `dist/src/cli`. */
export function packageVersion(): string {
  for (const up of ['../..', '../../..']) {
    try {
      const path = new URL(`${up}/package.json`, import.meta.url);
      const parsed: unknown = JSON.parse(readFileSync(path, 'utf8'));
      if (typeof parsed === 'object' && parsed && 'version' in parsed) return `${parsed.version}`;
    } catch {
      // Not this one: the other depth has it.
    }
  }
  return 'unknown';
}

/** A root command that throws instead of ending the process, with the exit codes in its help. */
export function rootCommand(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .version(packageVersion())
    .exitOverride()
    .showSuggestionAfterError()
    .enablePositionalOptions()
    .addHelpText('after', `\n${exitCodeHelp}`);
}

/** Who uses a command wrongly is told where its own help is. */
function pointToHelp(command: Command, name: string): void {
  command.showHelpAfterError(`(see ${name} --help)`);
  for (const child of command.commands) pointToHelp(child, `${name} ${child.name()}`);
}

/** What SIGINT, SIGTERM and SIGHUP do to a command. */
export class Interrupts {
  readonly #controller = new AbortController();
  #forward: ((signal: NodeJS.Signals) => void) | undefined;

  constructor() {
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(name, () => this.#received(name));
    }
  }

  /** Aborted by the first of them, so that the command cleans up; a second ends the process. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** From now on they are somebody else's, a child process's say; `undefined` takes them back. */
  forwardTo(receiver: ((signal: NodeJS.Signals) => void) | undefined): void {
    this.#forward = receiver;
  }

  #received(name: NodeJS.Signals): void {
    if (this.#forward) this.#forward(name);
    else if (this.signal.aborted) process.exit(exitCodes.canceled);
    else this.#controller.abort(new Error(name));
  }
}

/** What a command's action is given. */
export interface Run {
  readonly interrupts: Interrupts;
  readonly signal: AbortSignal;
  setExitCode(code: number): void;
}

/** Runs a program from its arguments to its exit code. `build` adds the commands. */
export async function runProgram(
  build: (run: Run) => Command | Promise<Command>,
  argv: readonly string[],
): Promise<never> {
  const interrupts = new Interrupts();
  // A reader that went away (`thin ls … | head`) is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    // Of a command that hands on what others write, it ends those.
    if (process.stdout.listenerCount('error') > 1) return;
    process.exit(error.code === 'EPIPE' ? 0 : 1);
  });
  let exitCode = 0;
  try {
    const setExitCode = (code: number): void => {
      exitCode = code;
    };
    const command = await build({ interrupts, signal: interrupts.signal, setExitCode });
    pointToHelp(command, command.name());
    await command.parseAsync([...argv]);
  } catch (error) {
    exitCode = reportFailure(error, interrupts.signal);
  }
  await flushed(process.stdout);
  process.exit(exitCode);
}

/** Says why on stderr, in one line; a stack only for a defect of ours. */
function reportFailure(error: unknown, signal: AbortSignal): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : exitCodes.invalid;
  if (isThinError(error)) {
    if (error.code === 'canceled' && signal.aborted) process.stderr.write('interrupted\n');
    else process.stderr.write(`error: ${describeError(error)}\n`);
  } else if (signal.aborted) {
    process.stderr.write('interrupted\n');
    return exitCodes.canceled;
  } else {
    const stack = error instanceof Error ? error.stack : String(error);
    process.stderr.write(`defect in ${process.argv[1]}: ${stack}\n`);
  }
  return exitCodeOf(error);
}

function flushed(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    stream.write('', () => resolve());
  });
}
