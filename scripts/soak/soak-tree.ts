import { createCipheriv, createHash } from 'node:crypto';
import { copyFile, cp, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { runCommand } from '../../test/support/run-command.js';

/** The python of Debian, whatever the PATH has first. */
const python = '/usr/bin/python3';
/** Programs of the tree, each with bytes of its own: to run one reads a file that is not here. */
const programCount = 4;
const smallFiles = { count: 600, bytesMax: 40_000 };
/** Cut into chunks: such files are kept in part while they are filled. */
const largeFiles = { count: 6, bytesMax: 6_000_000 };

const paths = `
import sys, sysconfig
print(sysconfig.get_path('stdlib'))
print(sys.executable)`;

/**
 * Makes a tree of about 75 MB for `thinify dir:`: python, so that reader.py runs in a container of it,
 * and files that it reads. The same for the same machine.
 */
export async function makeSoakTree(folder: string): Promise<void> {
  for (const name of ['bin', 'data', 'dev', 'etc', 'proc', 'sys', 'tmp', 'usr/bin', 'usr/lib64']) {
    await mkdir(join(folder, name), { recursive: true });
  }
  await symlink('usr/lib', join(folder, 'lib'));
  await symlink('usr/lib64', join(folder, 'lib64'));
  await writeFile(join(folder, 'etc/passwd'), 'root:x:0:0:root:/:/bin/sh\n');
  await writeFile(join(folder, 'etc/group'), 'root:x:0:\n');
  await copyPython(folder);
  const busybox = await readFile('/bin/busybox');
  for (let n = 0; n < programCount; n++) {
    const program = Buffer.concat([busybox, pseudoRandom(`program ${n}`, 200_000)]);
    await writeFile(join(folder, `bin/program${n}`), program, { mode: 0o755 });
  }
  await makeFiles(join(folder, 'data/small'), smallFiles);
  await makeFiles(join(folder, 'data/large'), largeFiles);
}

async function makeFiles(
  folder: string,
  { count, bytesMax }: { count: number; bytesMax: number },
): Promise<void> {
  for (let n = 0; n < count; n++) {
    const path = join(folder, `${n % 10}`, `${n}`);
    await mkdir(dirname(path), { recursive: true });
    // Sizes from a fifth to all; hexadecimal, so that it is compressed to half.
    const bytes = Math.floor(bytesMax * (0.2 + (0.8 * ((n * 7919) % count)) / count));
    const text = pseudoRandom(`${bytesMax} ${n}`, Math.ceil(bytes / 2)).toString('hex');
    await writeFile(path, text.slice(0, bytes));
  }
}

/** Interpreter with its libraries, standard library without what developers need. */
async function copyPython(folder: string): Promise<void> {
  const { stdout } = await runCommand(python, ['-I', '-c', paths]);
  const [library = '', program = ''] = stdout.trim().split('\n');
  await copyFile(program, join(folder, 'usr/bin/python3'));
  await cp(library, join(folder, library), {
    recursive: true,
    preserveTimestamps: true, // the compiled modules name those of their sources
    filter: (path) => !/^(config-|test$|idlelib$|site-packages$)/.test(basename(path)),
  });
  const linked = await runCommand('ldd', [program]);
  for (const [, path = ''] of linked.stdout.matchAll(/(?:=>|^)\s+(\/\S+) \(0x/gm)) {
    const place = join(folder, path.startsWith('/usr') ? path : `/usr${path}`);
    await mkdir(dirname(place), { recursive: true });
    await copyFile(path, place);
  }
}

/** The same bytes for the same seed: a stream cipher's. */
function pseudoRandom(seed: string, bytes: number): Buffer {
  const key = createHash('sha256').update(seed).digest();
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(bytes));
}
