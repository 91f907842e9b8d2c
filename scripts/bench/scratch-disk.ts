import { mkdir, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCommand } from '../../test/support/run-command.js';

/**
 * Lends an empty ext4 file system in a file, made for this one use. Measurements that create many
 * files need it: how fast the machine's own disk is depends on what was deleted on it before.
 * @param size bytes; the file is sparse and takes up what is written to it.
 */
export async function withScratchDisk<T>(
  size: number,
  use: (folder: string) => Promise<T>,
): Promise<T> {
  const work = await mkdtemp(join(tmpdir(), 'thinfs-scratch-'));
  const [file, folder] = [join(work, 'disk.ext4'), join(work, 'mounted')];
  try {
    await mkdir(folder);
    const handle = await open(file, 'w');
    await handle.truncate(size).finally(() => handle.close());
    // Inode tables are written now and not by the kernel during the measurement.
    const whole = 'lazy_itable_init=0,lazy_journal_init=0';
    await runCommand('mkfs.ext4', ['-q', '-F', '-m', '0', '-E', whole, file]);
    await runCommand('mount', ['-o', 'loop', file, folder]);
    try {
      await runCommand('rmdir', [join(folder, 'lost+found')]);
      return await use(folder);
    } finally {
      await runCommand('umount', [folder]);
    }
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
