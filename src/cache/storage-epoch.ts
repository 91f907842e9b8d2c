import { createHash } from 'node:crypto';
import { closeSync, openSync, readFileSync } from 'node:fs';

/** Bytes of a hash that fit into an SQLite integer and a JavaScript number. */
const epochBytes = 6;

/**
 * Names a time in which nothing that was written can have been lost: the machine has not stopped, and
 * the directories' file systems were not mounted anew. Two of the same name have had the page cache
 * between them; a process that is killed in such a time leaves its files whole without a sync.
 */
export function storageEpoch(directories: readonly string[]): number {
  const hash = createHash('sha256');
  hash.update(readFileSync('/proc/sys/kernel/random/boot_id', 'latin1'));
  for (const directory of directories) hash.update(`${directory} ${mountId(directory)}\n`);
  return hash.digest().readUIntBE(0, epochBytes);
}

/** Of the mount that the directory is in: proc(5), /proc/pid/fdinfo. */
function mountId(directory: string): string {
  const fd = openSync(directory, 'r');
  try {
    return /^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1] ?? '';
  } finally {
    closeSync(fd);
  }
}
