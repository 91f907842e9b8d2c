import { posix } from 'node:path';
import type { CommandStart, Program } from './command-files.js';
import type { ImageFiles } from './image-files.js';
import { programOptions } from './program-options.js';

/** Bytes of a script, or of a package's list of imports, that are looked at. */
const textBytesMax = 65_536;
/** Packages of one program. */
const packagesMax = 256;

/** Loaded before a program's first line, unless R_DEFAULT_PACKAGES says otherwise, and what compiles functions. */
const defaultPackages = [
  ...['base', 'methods', 'datasets', 'utils', 'grDevices', 'graphics', 'stats', 'compiler'],
];
const valuedOptions = ['-e', '-f', '-g', '-d'];
const startFiles = ['etc/ldpaths', 'etc/Renviron', 'etc/Rprofile.site', 'library/base/R/Rprofile'];
/** Databases of a package are read whole when one thing in them is wanted. */
const databases = ['R/sysdata', 'data/Rdata'];

/** Where R has its own files: R_HOME. */
export function rHome(files: ImageFiles, { path }: Program): string | undefined {
  const folder = posix.dirname(path);
  const homes = ['..', '../lib/R', '../lib64/R'].map((name) => posix.join(folder, name));
  const all = [...homes, '/usr/lib/R', '/usr/local/lib/R', '/usr/lib64/R'];
  return all.find((home) => files.has(posix.join(home, 'library'), 'base'));
}

/** Tells what R reads to start, and the packages that the program names, with those that they import. */
export async function rFiles(
  files: ImageFiles,
  program: Program,
  { workdir }: Pick<CommandStart, 'workdir'>,
  onPath: (path: string) => void,
): Promise<void> {
  const home = rHome(files, program);
  if (home === undefined) return;
  const own = ['bin/exec/R', 'lib/libR.so', ...startFiles];
  for (const path of own) onPath(posix.join(home, path));
  const library = posix.join(home, 'library');
  for (const name of defaultPackages) addPackage(posix.join(library, name), onPath);
  const libraries = [posix.join('/usr/local', 'lib/R/site-library'), ...librariesOf(home)];
  const known = new Set(defaultPackages);
  const follow = async (names: readonly string[]): Promise<void> => {
    const fresh = [...new Set(names)].filter((name) => !known.has(name));
    const folders = fresh.flatMap((name) => {
      if (known.size >= packagesMax) return [];
      known.add(name);
      const found = libraries.find((folder) => files.has(folder, name));
      return found === undefined ? [] : [posix.join(found, name)];
    });
    for (const folder of folders) addPackage(folder, onPath);
    const imports = await Promise.all(folders.map((folder) => importsOf(files, folder)));
    if (folders.length > 0) await follow(imports.flat());
  };
  await follow(await packagesOf(files, program, workdir));
}

function librariesOf(home: string): string[] {
  return [posix.join(home, 'site-library'), posix.join(home, 'library')];
}

function addPackage(folder: string, onPath: (path: string) => void): void {
  const name = posix.basename(folder);
  const stems = [`R/${name}`, ...databases];
  const paths = [
    ...['Meta/package.rds', 'Meta/nsInfo.rds', `R/${name}`],
    ...stems.flatMap((stem) => [`${stem}.rdx`, `${stem}.rdb`]),
    ...['data/Rdata.rds', `libs/${name}.so`],
  ];
  for (const path of paths) onPath(posix.join(folder, path));
}

/** `library(x)`, `require("x")`, `x::f` in expressions and in a script. */
async function packagesOf(
  files: ImageFiles,
  { args }: Program,
  workdir: string,
): Promise<string[]> {
  const { options, rest } = programOptions(args, valuedOptions);
  const values = (...names: string[]) =>
    options.flatMap(([name, value]) => (names.includes(name) ? [value] : []));
  const expressions = values('-e');
  const [script] = [...values('-f', '--file'), ...rest];
  const file = script === undefined ? undefined : files.file(posix.resolve(workdir, script));
  const text = file ? (await files.read(file, 0, textBytesMax)).toString('latin1') : '';
  const all = [...expressions, text].join('\n').replaceAll(/#.*/g, '');
  const named = all.matchAll(
    /\b(?:library|require|requireNamespace|loadNamespace)\(\s{0,16}["']?([\w.]+)|\b([\w.]{1,128}):::?/g,
  );
  return [...named].map(([, loaded, used]) => loaded ?? used ?? '');
}

/** Of a package's NAMESPACE. */
async function importsOf(files: ImageFiles, folder: string): Promise<string[]> {
  const file = files.file(posix.join(folder, 'NAMESPACE'));
  if (!file) return [];
  const text = (await files.read(file, 0, textBytesMax)).toString('latin1').replaceAll(/#.*/g, '');
  const from = [...text.matchAll(/\bimportFrom\(\s{0,16}["']?([\w.]+)/g)].map(
    ([, name = '']) => name,
  );
  const all = [...text.matchAll(/\bimport\(([^()]{0,4096})\)/g)].flatMap(([, list = '']) =>
    list.split(',').map((name) => name.trim().replaceAll(/["']/g, '')),
  );
  return [...from, ...all].filter((name) => /^[\w.]+$/.test(name));
}
