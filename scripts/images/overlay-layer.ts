import { type ChildProcess, spawn } from 'node:child_process';
import { lstatSync } from 'node:fs';
import { lstat, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { runCommand } from '../../test/support/run-command.js';

const opaqueName = 'trusted.overlay.opaque';

/**
 * Lets `change` work on the tree that `lowers` (uppermost first) make together, and returns the
 * folder that holds what it changed, with whiteouts as an OCI layer has them.
 * @param work an empty folder on a file system that can be the upper layer of overlayfs.
 */
export async function recordChanges(
  work: string,
  lowers: readonly string[],
  change: (root: string) => Promise<void>,
): Promise<string> {
  const [upper, scratch, root] = [join(work, 'upper'), join(work, 'scratch'), join(work, 'root')];
  for (const folder of [upper, scratch, root]) await mkdir(folder, { recursive: true });
  const layers = `lowerdir=${lowers.join(':')},upperdir=${upper},workdir=${scratch}`;
  const plain = 'redirect_dir=off,metacopy=off,index=off';
  await runCommand('mount', ['-t', 'overlay', 'overlay', '-o', `${layers},${plain}`, root]);
  try {
    await change(root);
  } finally {
    await runCommand('umount', [root]);
  }
  await markOpaqueDirectories(upper, lowers);
  await markRemovedNames(upper);
  return upper;
}

/**
 * A tar of what is in `folder`, the same bytes for the same content: entries in order of names,
 * numeric ids, no time later than `epoch` (seconds since 1970).
 */
export async function openTar(folder: string, epoch: number): Promise<Readable> {
  const names = (await readdir(folder)).sort();
  const child = spawn(
    'tar',
    [
      '--create',
      '--format=pax',
      '--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime',
      '--sort=name',
      '--numeric-owner',
      '--xattrs',
      '--xattrs-include=security.capability',
      '--xattrs-include=user.*',
      `--mtime=@${epoch}`,
      '--clamp-mtime',
      `--directory=${folder}`,
      '--',
      ...names,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  return failWithExitCode(child, child.stdout);
}

/** Makes the stream of a program end in an error if the program fails after its last byte. */
function failWithExitCode(child: ChildProcess, output: Readable): Readable {
  child.once('error', (error) => output.destroy(error));
  child.once('exit', (code) => {
    if (code !== 0) output.destroy(new Error(`Cannot read a tree: tar exited with ${code}`));
  });
  return output;
}

/** overlayfs marks a removed name by a character device 0:0; an OCI layer by `.wh.<name>`. */
async function markRemovedNames(upper: string): Promise<void> {
  const { stdout } = await runCommand('find', [upper, '-type', 'c', '-print0']);
  for (const path of stdout.split('\0').filter(Boolean)) {
    if ((await lstat(path)).rdev !== 0) continue;
    await rm(path);
    await writeFile(join(dirname(path), `.wh.${basename(path)}`), '');
  }
}

/**
 * overlayfs also marks directories that are merely new as opaque. In the layer only those are
 * marked that hide something.
 */
async function markOpaqueDirectories(upper: string, lowers: readonly string[]): Promise<void> {
  const pattern = `^${opaqueName.replaceAll('.', '\\.')}$`;
  const { stdout } = await runCommand('getfattr', [
    '-RPh',
    '--absolute-names',
    '-m',
    pattern,
    upper,
  ]);
  for (const [, path = ''] of stdout.matchAll(/^# file: (.*)$/gm)) {
    const inside = path.slice(upper.length);
    if (lowers.some((lower) => isDirectory(join(lower, inside)))) {
      await writeFile(join(path, '.wh..wh..opq'), '');
    }
  }
}

function isDirectory(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}
