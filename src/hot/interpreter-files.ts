import { posix } from 'node:path';
import { type CommandStart, type Program, variable } from './command-files.js';
import type { ImageFiles } from './image-files.js';

/** Bytes of a script in which imports are looked for. */
const scriptBytesMax = 65_536;
/** Modules of one command line or script. */
const modulesMax = 64;
/** Folders of PYTHONPATH that are looked into. */
const pythonPathMax = 64;

/** What Python 3 imports before the first line of a program (`python3 -v`), in that order. */
const pythonStart = [
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
const pythonModuleStart = ['runpy', 'importlib', 'importlib.machinery', 'importlib.util', 'types'];

const javaFiles = [
  'lib/jvm.cfg',
  'lib/server/libjvm.so',
  'lib/libjava.so',
  'lib/libjimage.so',
  'lib/libverify.so',
  'lib/libzip.so',
  'lib/server/classes.jsa',
  'lib/libnio.so',
  'lib/libnet.so',
  'conf/security/java.security',
  'lib/tzdb.dat',
];

/**
 * Paths that an interpreter reads besides its own libraries before a program's first line, and the
 * program's direct imports: what is known without running it. Paths that do not exist are left to the
 * caller to skip.
 */
export async function interpreterFiles(
  files: ImageFiles,
  program: Program,
  { env, workdir }: Pick<CommandStart, 'env' | 'workdir'>,
): Promise<string[]> {
  const name = posix.basename(program.path);
  if (/^python[\d.]*$/.test(name)) return pythonFiles(files, program, env, workdir);
  if (/^node(js)?$/.test(name)) return nodeFiles(program, workdir);
  if (name === 'java') return javaHome(program, env).flatMap((home) => under(home, javaFiles));
  return [];
}

async function pythonFiles(
  files: ImageFiles,
  program: Program,
  env: readonly string[],
  workdir: string,
): Promise<string[]> {
  const script = scriptOf(program, workdir);
  const command = optionValue(program.args, '-c');
  const module = optionValue(program.args, '-m');
  const text = command ?? (module === undefined ? await scriptText(files, script) : '');
  const imports = [
    ...pythonStart,
    ...(module === undefined ? [] : [...pythonModuleStart, module, `${module}.__main__`]),
    ...importedModules(text),
  ];
  const given = variable(env, 'PYTHONPATH')?.split(':', pythonPathMax) ?? [];
  const isScript = command === undefined && module === undefined && script !== undefined;
  const own = isScript ? posix.dirname(script) : workdir;
  const folders = [own, ...given, ...pythonFolders(files)];
  const wanted = imports.flatMap((name) => pythonModule(files, folders, name));
  return isScript ? [...wanted, script] : wanted;
}

function optionValue(args: readonly string[], option: string): string | undefined {
  const at = args.indexOf(option);
  return at < 0 ? undefined : args[at + 1];
}

async function scriptText(files: ImageFiles, path: string | undefined): Promise<string> {
  const file = path === undefined ? undefined : files.file(path);
  return file ? (await files.read(file, 0, scriptBytesMax)).toString('latin1') : '';
}

/** `import a.b as c, d` and `from a import b`, where `b` may be a module too. */
function importedModules(text: string): string[] {
  const lines = text.matchAll(
    /(?:^|[\n;])[ \t]*(?:import[ \t]+([\w., \t]+)|from[ \t]+([\w.]+)[ \t]+import[ \t]+([\w, \t]+)?)/g,
  );
  const names = [...lines].flatMap(([, list = '', from, members = '']) =>
    from === undefined
      ? firstWords(list)
      : [from, ...firstWords(members).map((name) => `${from}.${name}`)],
  );
  const plain = names.filter((name) => /^\w+(\.\w+)*$/.test(name)).slice(0, modulesMax);
  return [...new Set(plain.flatMap(withParents))];
}

function firstWords(list: string): string[] {
  return list.split(',').map((name) => name.trim().split(/\s/)[0] ?? '');
}

/** `a`, `a.b`, `a.b.c`: packages are imported before what is in them. */
function withParents(name: string): string[] {
  const parts = name.split('.');
  return parts.map((_, at) => parts.slice(0, at + 1).join('.'));
}

/** `/usr/lib/python3.11` and the like, and the packages beside it. */
function pythonFolders(files: ImageFiles): string[] {
  return ['/usr/local/lib', '/usr/lib', '/lib'].flatMap((base) => {
    const versions = files.names(base).filter((name) => /^python3(\.\d+)?$/.test(name));
    return versions.flatMap((name) =>
      under(posix.join(base, name), ['', 'lib-dynload', 'dist-packages', 'site-packages']),
    );
  });
}

/** The files of a module where it is found first: its byte code if there is some, else its source. */
function pythonModule(files: ImageFiles, folders: readonly string[], name: string): string[] {
  const path = name.replaceAll('.', '/');
  for (const folder of folders) {
    for (const stem of [posix.join(folder, path, '__init__'), posix.join(folder, path)]) {
      const found = moduleAt(files, stem);
      if (found) return [found];
    }
  }
  return [];
}

function moduleAt(files: ImageFiles, stem: string): string | undefined {
  const [folder, name] = [posix.dirname(stem), posix.basename(stem)];
  if (!files.file(`${stem}.py`)) {
    const native = files.names(folder).find((entry) => isNativeModule(entry, name));
    return native === undefined ? undefined : posix.join(folder, native);
  }
  const compiled = files
    .names(posix.join(folder, '__pycache__'))
    .find((entry) => entry.startsWith(`${name}.cpython-`) && /-\d+\.pyc$/.test(entry));
  return compiled === undefined ? `${stem}.py` : posix.join(folder, '__pycache__', compiled);
}

function isNativeModule(entry: string, name: string): boolean {
  return entry === `${name}.so` || (entry.startsWith(`${name}.cpython-`) && entry.endsWith('.so'));
}

/** Absolute. */
function scriptOf({ args }: Program, workdir: string): string | undefined {
  const script = args.find((arg) => !arg.startsWith('-'));
  return script === undefined ? undefined : posix.resolve(workdir, script);
}

function nodeFiles(program: Program, workdir: string): string[] {
  const script = scriptOf(program, workdir);
  const settings = ['/etc/ssl/openssl.cnf', '/usr/lib/ssl/openssl.cnf'];
  if (script === undefined) return settings;
  return [...settings, script, `${script}.js`, posix.join(posix.dirname(script), 'package.json')];
}

function javaHome({ path }: Program, env: readonly string[]): string[] {
  const home = variable(env, 'JAVA_HOME');
  return [...(home ? [home] : []), posix.dirname(posix.dirname(path)), '/usr/lib/jvm/default-java'];
}

function under(folder: string, names: readonly string[]): string[] {
  return names.map((name) => posix.join(folder, name));
}
