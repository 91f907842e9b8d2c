import { posix } from 'node:path';
import { type CommandStart, type Program, variable } from './command-files.js';
import type { ImageFiles } from './image-files.js';
import { programOptions } from './program-options.js';
import { importsOfSource, type PythonImport } from './python-imports.js';
import { PythonModules } from './python-modules.js';

/** Bytes of a script in which imports are looked for. */
const scriptBytesMax = 65_536;
/** Folders of PYTHONPATH that are looked into. */
const pythonPathMax = 64;
/** Files in which packages name folders and modules for every start, and bytes of one. */
const pathFilesMax = 32;
const pathFileBytesMax = 4096;

const valuedOptions = ['-c', '-m', '-W', '-X', '--check-hash-based-pycs'];

/** What Python 3 imports before the first line of a program (`python3 -v`), in that order. */
const startModules = [
  'encodings',
  'codecs',
  'encodings.aliases',
  'encodings.utf_8',
  'io',
  'abc',
  'site',
  'os',
  'stat',
  '_collections_abc',
  'posixpath',
  'genericpath',
  '_sitebuiltins',
  'sitecustomize',
  'usercustomize',
];
/** And besides for `python3 -m`. */
const runModules = ['runpy', 'importlib', 'importlib.machinery', 'importlib.util', 'types'];
/** Those that are part of the program since 3.11 ("frozen"), so that their files are not read. */
const frozenModules = [
  ...[
    'abc',
    'codecs',
    'io',
    'os',
    'posixpath',
    'ntpath',
    'genericpath',
    'stat',
    'site',
    'zipimport',
  ],
  ...['_collections_abc', '_sitebuiltins', 'importlib.util', 'importlib.machinery', 'runpy'],
  ...['importlib._bootstrap', 'importlib._bootstrap_external'],
];
const frozenSince = 11;

/** Where an installation of Python 3 has its modules. */
interface PythonHome {
  /** Of 3.11: 11. */
  readonly minor: number;
  /** Beyond the folder of the program, as in `sys.path`. */
  readonly folders: readonly string[];
}

/** Tells what Python reads to start, what the program imports, and what that imports in turn. */
export async function pythonFiles(
  files: ImageFiles,
  program: Program,
  { env, workdir }: Pick<CommandStart, 'env' | 'workdir'>,
  onPath: (path: string) => void,
): Promise<void> {
  const home = pythonHome(files, program);
  if (!home) return;
  const { imports, script, folder, main } = await commandImports(files, program, workdir);
  if (script !== undefined) onPath(script);
  const given = variable(env, 'PYTHONPATH')?.split(':', pythonPathMax) ?? [];
  const named = await readPathFiles(files, home, onPath);
  const folders = [folder, ...given, ...home.folders, ...named.folders];
  const modules = new PythonModules(files, folders, `cpython-3${home.minor}`, onPath);
  if (home.minor >= frozenSince) modules.known(frozenModules);
  await modules.follow([...startModules.map(absolute), ...named.imports, ...imports], main);
}

interface CommandImports {
  readonly imports: readonly PythonImport[];
  readonly script: string | undefined;
  /** The first of `sys.path`. */
  readonly folder: string;
  /** Modules that are the program. */
  readonly main: readonly string[];
}

async function commandImports(
  files: ImageFiles,
  { args }: Program,
  workdir: string,
): Promise<CommandImports> {
  const none = { imports: [], script: undefined, folder: workdir, main: [] };
  const { options, rest } = programOptions(args, valuedOptions, ['-c', '-m']);
  const [option, value = ''] = options.at(-1) ?? [];
  if (option === '-c') return { ...none, imports: importsOfSource(value, true) };
  if (option === '-m') {
    const main = [value, `${value}.__main__`];
    return { ...none, imports: [...runModules, ...main].map(absolute), main };
  }
  const [named] = rest;
  const script = named === undefined ? undefined : posix.resolve(workdir, named);
  const file = script === undefined ? undefined : files.file(script);
  if (!file || script === undefined) return none;
  const text = (await files.read(file, 0, scriptBytesMax)).toString('latin1');
  return { ...none, imports: importsOfSource(text, true), script, folder: posix.dirname(script) };
}

function absolute(name: string): PythonImport {
  return { level: 0, name, members: [] };
}

/** The standard library beside the program (`/usr/lib/python3.11`), and what is installed for it. */
function pythonHome(files: ImageFiles, { path }: Program): PythonHome | undefined {
  const bases = [posix.join(posix.dirname(path), '../lib'), '/usr/local/lib', '/usr/lib', '/lib'];
  const wanted = /python3\.(\d+)$/.exec(path)?.[1];
  const folders = bases.flatMap((base) => {
    const names = files.names(base).filter((name) => /^python3(\.\d+)?$/.test(name));
    return names.map((name) => posix.join(base, name));
  });
  const own = folders.filter((folder) => files.has(folder, 'os.py'));
  const standard = own.find((folder) => folder.endsWith(`3.${wanted}`)) ?? own[0];
  const minor = standard === undefined ? Number.NaN : Number(/\.(\d+)$/.exec(standard)?.[1]);
  if (standard === undefined || Number.isNaN(minor)) return undefined;
  const installed = folders.filter(
    (folder) => /python3$/.test(folder) || folder.endsWith(`.${minor}`),
  );
  const packages = installed.flatMap((folder) => [
    `${folder}/site-packages`,
    `${folder}/dist-packages`,
  ]);
  const all = [standard, `${standard}/lib-dynload`, ...packages];
  return { minor, folders: [...new Set(all)].filter((folder) => files.names(folder).length > 0) };
}

/** Folders and imports of `*.pth` files, which are read at every start. */
async function readPathFiles(
  files: ImageFiles,
  { folders }: PythonHome,
  onPath: (path: string) => void,
): Promise<{ folders: string[]; imports: PythonImport[] }> {
  const paths = folders
    .filter((folder) => folder.endsWith('-packages'))
    .flatMap((folder) =>
      files
        .names(folder)
        .filter((name) => name.endsWith('.pth'))
        .map((name) => posix.join(folder, name)),
    );
  const texts = await Promise.all(
    paths.slice(0, pathFilesMax).map(async (path) => {
      const file = files.file(path);
      if (!file) return [];
      onPath(path);
      const text = (await files.read(file, 0, pathFileBytesMax)).toString('latin1');
      return text.split('\n').map((line) => [posix.dirname(path), line.trim()] as const);
    }),
  );
  const lines = texts.flat().filter(([, line]) => line !== '' && !line.startsWith('#'));
  const isCode = (line: string) => /^import\s/.test(line);
  const named = lines.filter(([, line]) => !isCode(line));
  return {
    folders: named.map(([folder, line]) => posix.resolve(folder, line)),
    imports: lines.filter(([, line]) => isCode(line)).flatMap(([, line]) => importsOfSource(line)),
  };
}
