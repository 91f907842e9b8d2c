import { existsSync } from 'node:fs';
import { mkdir, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Microseconds in which a share is given out: much shorter than what nodes wait for each other. */
const periodUs = 10_000;

/**
 * A part of the machine's CPU, so that many nodes on one machine are as fast as one of them alone is:
 * a control group with a quota. Containers are not in it, as they have a group of their own.
 * @see https://docs.kernel.org/scheduler/sched-bwc.html
 */
export class CpuShare implements AsyncDisposable {
  readonly #folder: string;

  /** @param cores of CPU, 0.5 for half of one */
  static async open(name: string, cores: number): Promise<CpuShare> {
    const root = '/sys/fs/cgroup';
    const isV2 = existsSync(join(root, 'cgroup.controllers'));
    const folder = join(isV2 ? root : join(root, 'cpu'), `thinfs-bench-${process.pid}-${name}`);
    await mkdir(folder);
    const quota = Math.round(cores * periodUs);
    try {
      if (isV2) {
        await writeFile(join(folder, 'cpu.max'), `${quota} ${periodUs}`);
      } else {
        await writeFile(join(folder, 'cpu.cfs_period_us'), `${periodUs}`);
        await writeFile(join(folder, 'cpu.cfs_quota_us'), `${quota}`);
      }
    } catch (error) {
      await rmdir(folder); // else it stays for ever
      throw error;
    }
    return new CpuShare(folder);
  }

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** The words that run `command`, and all that it starts, with this share. */
  behind(command: readonly string[]): string[] {
    const enter = `echo $$ > ${join(this.#folder, 'cgroup.procs')} && exec "$@"`;
    return ['sh', '-c', enter, 'sh', ...command];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rmdir(this.#folder);
  }
}
