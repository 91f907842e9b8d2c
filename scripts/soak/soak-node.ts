import { cp, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { nodeFolders } from '../../src/config.js';
import { type CommandResult, runCommand } from '../../test/support/run-command.js';
import { builtProgram } from '../bench/thin-node.js';
import { until } from '../until.js';

/** Milliseconds for a command that reads nothing from a store. */
const commandMs = 60_000;

const holderStatus = z.object({
  pid: z.number(),
  phase: z.string(),
  serverPid: z.number().optional(),
  crashes: z.number(),
});
export type HolderStatus = z.infer<typeof holderStatus>;

export interface NodeSettings {
  readonly cacheSize: string;
  readonly freeSpace: string;
}

/** A node whose daemon is treated badly. */
export class SoakNode {
  readonly root: string;
  readonly env: Readonly<Record<string, string>>;
  /** The program that commands are run with; upgrades change it. */
  program = builtProgram('src/cli/thin.js');

  constructor(root: string, { cacheSize, freeSpace }: NodeSettings) {
    this.root = root;
    this.env = {
      THINFS_ROOT: root,
      THINFS_CACHE_SIZE: cacheSize,
      THINFS_FREE_SPACE: freeSpace,
      THINFS_READ_DEADLINE: '10m',
    };
  }

  thin(...words: string[]): Promise<CommandResult> {
    const options = { env: this.env, timeoutMs: commandMs, mayFail: true };
    return runCommand(process.execPath, [this.program, ...words], options);
  }

  /** @throws Error if it fails */
  async must(...words: string[]): Promise<string> {
    const { code, signal, stdout, stderr } = await this.thin(...words);
    if (code === 0) return stdout;
    throw new Error(`thin ${words.join(' ')} ended with ${code ?? signal}: ${stderr.trim()}`);
  }

  /** Undefined if no holder runs. */
  async holder(): Promise<HolderStatus | undefined> {
    const { code, stdout } = await this.thin('daemon', 'status', '--json');
    return code === 0 ? holderStatus.parse(JSON.parse(stdout)) : undefined;
  }

  /** Kills the server without a word; false if there was none. */
  async killServer(): Promise<boolean> {
    const pid = (await this.holder())?.serverPid;
    return pid !== undefined && kill(pid);
  }

  /** Kills the holder, and waits for its successor. */
  async killHolder(): Promise<void> {
    const pid = (await this.holder())?.pid;
    if (pid === undefined || !kill(pid)) return;
    await until(`a holder succeeds ${pid}`, async () => {
      const next = await this.holder();
      return next !== undefined && next.pid !== pid;
    });
  }

  /** Waits until a server answers. */
  async serving(): Promise<void> {
    await until('the server serves', async () => (await this.holder())?.phase === 'serving');
  }

  /** Ends everything of it. @returns what it has left behind, for people */
  async end(): Promise<string[]> {
    const { code, stderr } = await this.thin('daemon', 'cleanup', '--force');
    const left = code === 0 ? [] : [`cleanup ended with ${code}: ${stderr.trim()}`];
    const { runFolder } = nodeFolders(this.root, this.env, process.getuid?.() ?? 0);
    const mounts = (await readFile('/proc/self/mountinfo', 'utf8'))
      .split('\n')
      .map((line) => line.split(' ')[4] ?? '');
    const ours = mounts.filter((path) => {
      return path.startsWith(`${this.root}/`) || path.startsWith(`${runFolder}/`);
    });
    left.push(...ours.map((path) => `mounted: ${path}`));
    const devices = await runCommand('losetup', ['--noheadings', '--output', 'BACK-FILE']);
    const loops = devices.stdout.split('\n').filter((path) => path.startsWith(`${this.root}/`));
    left.push(...loops.map((path) => `loop device: ${path}`));
    await until('its processes are gone', async () => (await this.#processes()).length === 0).catch(
      async () => left.push(...(await this.#processes()).map((line) => `process: ${line}`)),
    );
    return left;
  }

  async #processes(): Promise<string[]> {
    const { stdout } = await runCommand('ps', ['-eo', 'pid=,args=']);
    return stdout.split('\n').filter((line) => line.includes(`--root ${this.root}`));
  }
}

/** The programs as another version of thin has them, for upgrades. @returns path of `thin` */
export async function copyPrograms(folder: string, version: string): Promise<string> {
  const project = fileURLToPath(new URL('../..', import.meta.url));
  for (const part of ['dist/src', 'dist/native-bindings', 'native-bindings/build']) {
    await mkdir(join(folder, part), { recursive: true });
    await cp(join(project, part), join(folder, part), { recursive: true });
  }
  await symlink(join(project, 'node_modules'), join(folder, 'node_modules'));
  const description = await readFile(join(project, 'package.json'), 'utf8');
  const changed = description.replace(/"version": "[^"]*"/, `"version": "${version}"`);
  await writeFile(join(folder, 'package.json'), changed);
  return join(folder, 'dist/src/cli/thin.js');
}

/** False if there is no such process. */
function kill(pid: number): boolean {
  try {
    process.kill(pid, 'SIGKILL');
    return true;
  } catch {
    return false;
  }
}
