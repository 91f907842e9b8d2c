import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { processStart } from '../src/cache/process-start.js';
import { fromSystemError } from '../src/errors.js';

/**
 * A folder of this process for packs that wait to be sent: `<cache>/spool/<namespace>-<pid>-<start>-…`.
 * It goes with the process, or when the next converter finds that its process is gone.
 */
export class Spool implements Disposable {
  readonly folder: string;
  #files = 0;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static open(cacheFolder: string): Spool {
    const parent = join(cacheFolder, 'spool');
    try {
      mkdirSync(parent, { recursive: true, mode: 0o700 });
      removeLeftovers(parent);
      const owner = [processNamespace(), process.pid, processStart(process.pid) ?? 0].join('-');
      return new Spool(mkdtempSync(join(parent, `${owner}-`)));
    } catch (error) {
      throw fromSystemError(`Cannot make a temporary folder in ${parent}`, error);
    }
  }

  /** A path in the folder that was not given out before. */
  path(): string {
    this.#files += 1;
    return join(this.folder, `${this.#files}`);
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Process ids of another container mean nothing here: its folders are left to it. */
function processNamespace(): string {
  try {
    return /\d+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0] ?? '0';
  } catch {
    return '0';
  }
}

function removeLeftovers(parent: string): void {
  const namespace = processNamespace();
  for (const name of readdirSync(parent)) {
    const [owner, pid, start] = name.split('-');
    if (owner !== namespace || processStart(Number(pid)) === Number(start)) continue;
    rmSync(join(parent, name), { recursive: true, force: true });
  }
}
