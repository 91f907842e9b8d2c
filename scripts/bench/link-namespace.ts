import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { runCommand } from '../../test/support/run-command.js';

/** A network namespace at the far end of a link, until it is disposed of. */
export class LinkNamespace implements AsyncDisposable {
  readonly name: string;

  private constructor(name: string) {
    this.name = name;
  }

  /** @param kind tells links of one process apart */
  static async open(kind: string): Promise<LinkNamespace> {
    await removeAbandoned();
    const name = `thinfs-${kind}-${process.pid}`;
    await runCommand('ip', ['netns', 'add', name]);
    const namespace = new LinkNamespace(name);
    try {
      await runCommand('ip', ['-n', name, 'link', 'set', 'lo', 'up']); // it is down at first
    } catch (error) {
      await namespace[Symbol.asyncDispose]();
      throw error;
    }
    return namespace;
  }

  get path(): string {
    return `/run/netns/${this.name}`;
  }

  /** The words that run `command` behind the link; only its network is another one. */
  behind(command: readonly string[]): string[] {
    return ['nsenter', `--net=${this.path}`, ...command];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await runCommand('ip', ['netns', 'delete', this.name]);
  }
}

/** Those of benches that were killed. */
async function removeAbandoned(): Promise<void> {
  const names = await readdir('/run/netns').catch(() => []); // where there was none yet
  for (const name of names) {
    const owner = /^thinfs-[a-z]+[0-9]*-([0-9]+)$/.exec(name)?.[1];
    if (owner === undefined || existsSync(`/proc/${owner}`)) continue;
    await runCommand('ip', ['netns', 'delete', name], { mayFail: true }); // another bench may have done so
  }
}
