import { posix } from 'node:path';
import type { ImageFile, ImageFiles } from './image-files.js';
import { programOptions } from './program-options.js';

/** Bytes of a script that the kernel looks at for its interpreter (BINPRM_BUF_SIZE). */
const scriptHeadBytes = 256;
/** Folders of PATH that are looked into. */
const pathFoldersMax = 256;
/** Interpreters of interpreters, as the kernel limits them. */
const interpretersMax = 4;

/** Options of `env` with values, and those whose value is more of its command line. */
const envValued = ['-u', '--unset', '-C', '--chdir', '-S', '--split-string'];
const envSplits = ['-S', '--split-string'];

/** What a command is started with. */
export interface CommandStart {
  readonly args: readonly string[];
  /** `NAME=value` */
  readonly env: readonly string[];
  readonly workdir: string;
}

/** A program that is executed, and the arguments behind it. */
export interface Program {
  readonly path: string;
  readonly file: ImageFile;
  readonly args: readonly string[];
}

export interface ResolvedCommand {
  /** Scripts first, then the program that runs them all; absent if there is none in the image. */
  readonly scripts: readonly Program[];
  readonly program: Program | undefined;
}

const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** The value of a variable, the last one given. */
export function variable(env: readonly string[], name: string): string | undefined {
  return env.findLast((text) => text.startsWith(`${name}=`))?.slice(name.length + 1);
}

/**
 * Finds what a command line executes: PATH, symlinks, `#!` lines, `env`.
 * @see https://man7.org/linux/man-pages/man2/execve.2.html "Interpreter scripts"
 */
export async function resolveCommand(
  files: ImageFiles,
  start: CommandStart,
): Promise<ResolvedCommand> {
  const scripts: Program[] = [];
  let program = findProgram(files, start, start.args);
  while (program && scripts.length < interpretersMax) {
    const wrapped = throughEnv(program);
    if (wrapped) {
      scripts.push(program);
      program = findProgram(files, start, wrapped);
      continue;
    }
    const interpreter = await interpreterOf(files, program);
    if (!interpreter) break;
    scripts.push(program);
    program = findProgram(files, start, [...interpreter, program.path, ...program.args]);
  }
  return { scripts, program };
}

function findProgram(
  files: ImageFiles,
  { env, workdir }: CommandStart,
  [name, ...args]: readonly string[],
): Program | undefined {
  if (name === undefined || name === '') return undefined;
  const folders = name.includes('/')
    ? ['']
    : (variable(env, 'PATH') ?? defaultPath).split(':', pathFoldersMax).filter(isNamed);
  for (const folder of folders) {
    const path = posix.resolve(workdir, folder === '' ? name : posix.join(folder, name));
    const file = files.file(path);
    if (file?.executable) return { path, file, args };
  }
  return undefined;
}

function isNamed(text: string): boolean {
  return text !== '';
}

/**
 * What `env` executes; undefined if the program is another one.
 * @see https://www.gnu.org/software/coreutils/manual/html_node/env-invocation.html
 */
function throughEnv({ path, args }: Program): string[] | undefined {
  if (posix.basename(path) !== 'env') return undefined;
  const { options, rest } = programOptions(args, envValued, envSplits);
  const [name = '', value = ''] = options.at(-1) ?? [];
  // The kernel gives all that stands behind the program of a `#!` line as one word.
  const words = envSplits.includes(name)
    ? programOptions([...value.split(/\s+/).filter(isNamed), ...rest], envValued).rest
    : rest;
  const first = words.findIndex((word) => word !== '-' && !word.includes('='));
  return first < 0 ? undefined : words.slice(first);
}

/** The words of a `#!` line. */
async function interpreterOf(files: ImageFiles, program: Program): Promise<string[] | undefined> {
  const head = (await files.read(program.file, 0, scriptHeadBytes)).toString('latin1');
  if (!head.startsWith('#!')) return undefined;
  const [line = ''] = head.slice(2).split('\n', 1);
  const [, interpreter, argument] = /^\s*(\S+)\s*(.*?)\s*$/.exec(line) ?? [];
  if (interpreter === undefined) return undefined;
  return argument ? [interpreter, argument] : [interpreter];
}
