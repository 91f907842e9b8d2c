/** Builds the addon, if its sources have changed, and compiles the programs into dist/. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const addon = fileURLToPath(new URL('../native-bindings', import.meta.url));
/** Lies in the folder that a rebuild empties first, so that it never vouches for half a build. */
const stamp = join(addon, 'build/.built-from');

function addonSources(): string {
  const hash = createHash('sha256').update(`${process.version} ${process.arch}`);
  const names = readdirSync(addon, { recursive: true, encoding: 'utf8' });
  for (const name of names.sort()) {
    if (!/(^binding\.gyp|\.(c|cc|cpp|h|hpp))$/.test(name) || name.startsWith('build/')) continue;
    hash.update(`\0${name}\0`).update(readFileSync(join(addon, name)));
  }
  return hash.digest('hex');
}

function npmRun(script: string): void {
  const { status } = spawnSync('npm', ['run', '--silent', script], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (status !== 0) {
    process.stderr.write(`Cannot build: npm run ${script} exited with ${status}\n`);
    process.exit(1);
  }
}

const sources = addonSources();
if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== sources) {
  npmRun('build:native');
  writeFileSync(stamp, sources);
}
npmRun('build');
