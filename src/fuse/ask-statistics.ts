import { spawn } from 'node:child_process';
import { once } from 'node:events';

/**
 * Has another process ask a file system for its statistics, which the kernel never answers itself:
 * of a FUSE mount, that wakes one thread of its server. A call of our own could not be given up, and
 * this process could not even exit, should nobody answer any more.
 * @param signal gives up
 * @returns true if it was answered; false also where no process can be had
 */
export async function askStatistics(mountPoint: string, signal: AbortSignal): Promise<boolean> {
  try {
    const program = spawn('stat', ['-f', '--', mountPoint], {
      stdio: 'ignore',
      signal,
      killSignal: 'SIGKILL',
    });
    const [code] = await once(program, 'close');
    return code === 0;
  } catch {
    return false;
  }
}
