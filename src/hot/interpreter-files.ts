import { posix } from 'node:path';
import { type CommandStart, type Program, variable } from './command-files.js';
import type { ImageFiles } from './image-files.js';
import { postgresFiles } from './postgres-files.js';
import { programOptions } from './program-options.js';
import { pythonFiles } from './python-files.js';
import { rFiles } from './r-files.js';

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

/** Options of Node.js that name a module to load first, and those that are given the program's text. */
const nodeLoads = ['-r', '--require', '--import'];
const nodeEvals = ['-e', '--eval', '-p', '--print'];

/**
 * Tells the paths that an interpreter reads besides its own libraries before a program's first line, and
 * what the program imports: what is known without running it. Paths that do not exist are left to the
 * caller to skip.
 */
export async function interpreterFiles(
  files: ImageFiles,
  program: Program,
  { env, workdir }: Pick<CommandStart, 'env' | 'workdir'>,
  onPath: (path: string) => void,
): Promise<void> {
  const name = posix.basename(program.path);
  const at = { env, workdir };
  if (/^python[\d.]*$/.test(name)) await pythonFiles(files, program, at, onPath);
  if (name === 'R' || name === 'Rscript') await rFiles(files, program, at, onPath);
  if (/^node(js)?$/.test(name)) nodeFiles(program, workdir).forEach(onPath);
  if (/^(postgres|postmaster)$/.test(name)) postgresFiles(files, program).forEach(onPath);
  if (name !== 'java') return;
  for (const home of javaHome(program, env)) under(home, javaFiles).forEach(onPath);
}

function nodeFiles({ args }: Program, workdir: string): string[] {
  const { options, rest } = programOptions(args, [
    ...nodeLoads,
    ...nodeEvals,
    '-C',
    '--conditions',
  ]);
  const evals = options.some(([name]) => nodeEvals.includes(name));
  const loads = options.flatMap(([name, value]) => (nodeLoads.includes(name) ? [value] : []));
  const modules = loads.filter((name) => /^\.{0,2}\//.test(name));
  const scripts = [...modules, ...(evals ? [] : rest.slice(0, 1))];
  const paths = scripts.map((name) => posix.resolve(workdir, name));
  return ['/etc/ssl/openssl.cnf', '/usr/lib/ssl/openssl.cnf', ...paths.flatMap(nodeModuleFiles)];
}

function nodeModuleFiles(path: string): string[] {
  return [path, `${path}.js`, posix.join(posix.dirname(path), 'package.json')];
}

function javaHome({ path }: Program, env: readonly string[]): string[] {
  const home = variable(env, 'JAVA_HOME');
  return [...(home ? [home] : []), posix.dirname(posix.dirname(path)), '/usr/lib/jvm/default-java'];
}

function under(folder: string, names: readonly string[]): string[] {
  return names.map((name) => posix.join(folder, name));
}
