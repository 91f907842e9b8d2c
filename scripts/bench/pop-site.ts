import { type ChildProcess, spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { type CommandResult, runCommand } from '../../test/support/run-command.js';
import type { SlowLink } from './slow-link.js';
import { builtProgram } from './thin-node.js';

const redisPort = 6379;
/** Milliseconds between looks at something that has begun, and in all. */
const pollMs = 50;
const pollTimeoutMs = 60_000;

const count = z.object({ frames: z.number(), bytes: z.number() });
const reportSchema = z.object({
  agreed: z.boolean(),
  members: z.array(z.object({ alive: z.boolean() })),
  counts: z.object({ shelf: count, peers: count, origin: count, alone: count }),
});
export type SiteReport = z.infer<typeof reportSchema>;

/** A site: all behind one link to the rest of the world, with a Redis of its own. */
export class PopSite implements AsyncDisposable {
  readonly #link: SlowLink;
  readonly #folder: string;
  readonly #redis: ChildProcess;

  static async open(link: SlowLink, folder: string): Promise<PopSite> {
    await writeFile(join(folder, 'secret'), 'what the nodes of the bench know each other by');
    const [program = '', ...words] = link.behind(['redis-server', '--save', '']);
    const redis = spawn(program, words, { stdio: 'ignore', cwd: folder });
    return new PopSite(link, folder, redis);
  }

  private constructor(link: SlowLink, folder: string, redis: ChildProcess) {
    this.#link = link;
    this.#folder = folder;
    this.#redis = redis;
  }

  /** As a Redis whose host hangs, and then does not any more. */
  signalRedis(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#redis.kill(signal);
  }

  async flushRedis(): Promise<void> {
    await this.#run(['redis-cli', 'flushall']);
  }

  node(name: string, shared: boolean): SiteNode {
    const pop = {
      THINFS_POP: `redis://127.0.0.1:${redisPort}`,
      THINFS_POP_SECRET: join(this.#folder, 'secret'),
    };
    const env = { THINFS_ROOT: join(this.#folder, name), THINFS_COMPLETE: 'never' };
    return new SiteNode(this.#link, { ...env, ...(shared && pop) });
  }

  /** Bytes that have come over the link since it was made. */
  async linkBytes(): Promise<number> {
    const { stdout } = await this.#run(['cat', '/proc/net/dev']);
    const lines = stdout.split('\n').map((line) => /^\s*(\S+):\s*(\d+)/.exec(line) ?? []);
    return lines.reduce(
      (sum, [, name, bytes]) => (name === 'lo' ? sum : sum + Number(bytes ?? 0)),
      0,
    );
  }

  #run(command: readonly string[]): Promise<CommandResult> {
    const [program = '', ...words] = this.#link.behind(command);
    return runCommand(program, words);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#redis.kill('SIGKILL');
  }
}

/** One node of it. */
export class SiteNode {
  readonly #link: SlowLink;
  readonly #env: Readonly<Record<string, string>>;

  constructor(link: SlowLink, env: Readonly<Record<string, string>>) {
    this.#link = link;
    this.#env = env;
  }

  thin(...words: string[]): Promise<CommandResult> {
    const command = [process.execPath, builtProgram('src/cli/thin.js'), ...words];
    const [program = '', ...rest] = this.#link.behind(command);
    return runCommand(program, rest, { env: { ...this.#env }, mayFail: true });
  }

  /** Starts its daemon, and waits until it sees so many live nodes. */
  async start(members: number): Promise<void> {
    await this.thin('daemon', 'start');
    const deadline = Date.now() + pollTimeoutMs;
    while (members > 0) {
      const { agreed, members: seen } = await this.report();
      if (agreed && seen.filter(({ alive }) => alive).length >= members) return;
      if (Date.now() > deadline) throw new Error(`Cannot see ${members} nodes`);
      await new Promise((resolve) => setTimeout(resolve, pollMs));
    }
  }

  /** @returns milliseconds of one start; its output is what it should be, or this throws */
  async run(reference: string, words: readonly string[], wanted: string): Promise<number> {
    const startedAt = performance.now();
    const started = await this.thin('run', '--rm', '--plain-http', reference, ...words);
    if (started.code !== 0 || started.stdout !== wanted) {
      throw new Error(
        `Cannot start ${reference}: ${started.code} ${started.stdout} ${started.stderr}`,
      );
    }
    return performance.now() - startedAt;
  }

  async report(): Promise<SiteReport> {
    return reportSchema.parse(JSON.parse((await this.thin('pop', 'status', '--json')).stdout));
  }

  async end(): Promise<void> {
    await this.thin('daemon', 'cleanup', '--force', '--purge');
  }
}
