import { posix } from 'node:path';
import {
  type CommandStart,
  type Program,
  type ResolvedCommand,
  resolveCommand,
  variable,
} from './command-files.js';
import type { ImageFiles } from './image-files.js';
import { programOptions } from './program-options.js';
import { rHome } from './r-files.js';
import { shellCommands } from './shell-commands.js';

/** Arguments that are tried as a command of their own. */
const nestedMax = 4;
/** Scripts that scripts run. */
const depthMax = 2;
/** Programs of one start. */
const programsMax = 64;
/** Bytes of a script in which commands are looked for. */
const scriptBytesMax = 65_536;
/** Entries of a folder that a `*` may mean. */
const matchesMax = 16;

/** Programs that run what they are given. */
const wrapperNames =
  /^(env|gosu|su-exec|setpriv|tini|dumb-init|catatonit|nice|timeout|stdbuf|xargs)$/;
const shellNames = /^(ba|da|a|k|z|mk)?sh$/;
const shellValued = ['-o', '-O', '--rcfile', '--init-file'];

/**
 * The programs that a command starts, the likeliest first: its own; what it is given to run
 * (`entrypoint.sh program …`); and, where a shell runs, the commands in its text. Each is told once.
 * @throws whatever the image's files throw when they are read
 */
export async function* startedPrograms(
  files: ImageFiles,
  start: CommandStart,
): AsyncGenerator<ResolvedCommand, void> {
  const known = new Set<string>();
  let commands: CommandStart[] = nested(start.args).map((args) => ({ ...start, args }));
  for (let depth = 0; depth <= depthMax && commands.length > 0; depth++) {
    const scripts: ShellScript[] = [];
    const further: CommandStart[] = [];
    for (const command of commands) {
      const resolved = await resolveCommand(files, command);
      const { scripts: own, program } = resolved;
      const key = JSON.stringify([...own.map(({ path }) => path), program?.path, program?.args]);
      if (known.has(key)) continue;
      known.add(key);
      yield resolved;
      if (known.size >= programsMax) return;
      scripts.push(...(await scriptsOf(files, command, resolved)));
      if (program) further.push(...launched(files, program).map((args) => ({ ...start, args })));
    }
    commands = [...further, ...scripts.flatMap((script) => commandsIn(files, script))];
  }
}

/** The words of a command, and what it may be told to run: what is behind each word. */
function nested(args: readonly string[]): string[][] {
  const lines = args.slice(0, nestedMax + 1).map((_, at) => args.slice(at));
  return lines.filter(([name], at) => at === 0 || name?.startsWith('-') === false);
}

/** Programs that others of one installation start by their place. */
function launched(files: ImageFiles, program: Program): string[][] {
  const { path } = program;
  const name = posix.basename(path);
  if (name === 'initdb' || name === 'pg_ctl')
    return [[posix.join(posix.dirname(path), 'postgres')]];
  const home = name === 'Rscript' ? rHome(files, program) : undefined;
  return home === undefined ? [] : [[posix.join(home, 'bin/R')]];
}

interface ShellScript {
  readonly text: string;
  readonly start: CommandStart;
}

/** What a shell is to run: after `-c`, or in a file, which may have named the shell by its `#!` line. */
async function scriptsOf(
  files: ImageFiles,
  start: CommandStart,
  { program }: ResolvedCommand,
): Promise<ShellScript[]> {
  if (!program || !shellNames.test(posix.basename(program.path))) return [];
  const { options, rest } = programOptions(program.args, shellValued);
  const named = rest.find((word) => word !== '-');
  if (named !== undefined && options.some(([name]) => name === '-c')) {
    return [{ text: named, start }];
  }
  const file = named === undefined ? undefined : files.file(posix.resolve(start.workdir, named));
  if (!file) return [];
  const bytes = await files.read(file, 0, scriptBytesMax);
  return [{ text: bytes.toString('latin1'), start }];
}

/** Folders that a script names are looked into too: it may have set PATH. */
function commandsIn(files: ImageFiles, { text, start }: ShellScript): CommandStart[] {
  const { commands, paths } = shellCommands(text);
  const named = paths.flatMap((path) => matches(files, path));
  const folders = named.filter((path) => /^s?bin$/.test(posix.basename(path)));
  const programs = named.filter((path) => files.file(path)?.executable).slice(0, programsMax);
  const path = [variable(start.env, 'PATH') ?? '', ...new Set(folders)];
  const env = [...start.env, `PATH=${path.filter((folder) => folder !== '').join(':')}`];
  const all = commands.flatMap((args) =>
    wrapperNames.test(args[0] ?? '') ? nested(args) : [args],
  );
  const both = [...all, ...programs.map((name) => [name])];
  return both.map((args) => ({ ...start, args, env: folders.length > 0 ? env : start.env }));
}

/** The paths that one with `*` means. */
function matches(files: ImageFiles, path: string): string[] {
  let found = ['/'];
  for (const part of path.split('/').filter((name) => name !== '')) {
    const pieces = part.split('*');
    found = found.flatMap((folder) => {
      if (pieces.length === 1) return [posix.join(folder, part)];
      const names = files.names(folder).filter((name) => isLike(name, pieces));
      return names.map((name) => posix.join(folder, name));
    });
    found = found.slice(0, matchesMax);
  }
  return found;
}

/** Whether a name is these pieces with anything between them: each is looked for behind the one before. */
function isLike(name: string, pieces: readonly string[]): boolean {
  const [first = '', ...others] = pieces;
  const last = others.pop() ?? '';
  let at = name.startsWith(first) ? first.length : -1;
  for (const piece of others) {
    if (at < 0) return false;
    const found = name.indexOf(piece, at);
    at = found < 0 ? -1 : found + piece.length;
  }
  return at >= 0 && at + last.length <= name.length && name.endsWith(last);
}
