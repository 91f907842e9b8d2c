import { spawn } from 'node:child_process';

/**
 * Has another process ask a file system for its statistics, which the kernel never answers itself:
 * of a FUSE mount, that wakes one thread of its server. A call of our own could not be given up, and
 * this process could not even exit, should nobody answer any more.
 * @param signal gives up
 * @returns true if it was answered
 */
export function askStatistics(mountPoint: string, signal: AbortSignal): Promise<boolean> {
  const program = spawn('stat', ['-f', '--', mountPoint], {
    stdio: 'ignore',
    signal,
    killSignal: 'SIGKILL',
  });
  return new Promise((resolve) => {
    program.once('error', () => resolve(false));
    program.once('close', (code) => resolve(code === 0));
  });
}
