import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { type CommandResult, runCommand } from '../../test/support/run-command.js';
import { CpuShare } from './cpu-share.js';
import { SiteNetwork, type SitePlace } from './site-network.js';
import type { SlowLink } from './slow-link.js';
import { builtProgram } from './thin-node.js';

const redisPort = 6379;
/** Milliseconds between looks at something that has begun, and in all. */
const pollMs = 50;
const pollTimeoutMs = 60_000;
/** For all of an image to come, over the link. */
const settleTimeoutMs = 300_000;

const count = z.object({ frames: z.number(), bytes: z.number() });
const reportSchema = z.object({
  agreed: z.boolean(),
  members: z.array(z.object({ alive: z.boolean() })),
  aloneFor: z.record(z.string(), z.number()).default({}),
  counts: z.object({ shelf: count, peers: count, origin: count, alone: count }),
});
export type SiteReport = z.infer<typeof reportSchema>;
const statusSchema = z.object({ serverPid: z.number() });
const whySchema = z.object({ state: z.enum(['complete', 'lazy']) });
const tierSchema = z.object({ sharedTier: z.object({ waiting: z.number() }) });
const checkSchema = z.object({ wrong: z.array(z.unknown()) });

/** What is run in a container, and what it writes. */
export interface StartedProgram {
  /** Of `thin run`. */
  readonly flags?: readonly string[];
  readonly words: readonly string[];
  readonly wanted: string;
}

export interface NodeOptions {
  /** Whether it is one of the site; on its own otherwise. */
  readonly shared: boolean;
  /** Bytes of its disk that files may take, and frames for the others; as people write them. */
  readonly cacheSize?: string;
  readonly popSize?: string;
  /** As `--tier` has it. */
  readonly tier?: string;
  /** Whether all of an image is brought behind its start. */
  readonly complete?: boolean;
  /** Of CPU that it has; all that there are otherwise. */
  readonly cores?: number | undefined;
}

/** A site: nodes with networks of their own, all behind one link to the rest of the world, and a Redis. */
export class PopSite implements AsyncDisposable {
  readonly #link: SlowLink;
  readonly #network: SiteNetwork;
  readonly #folder: string;
  readonly #nodes = new Set<SiteNode>();
  #redis: ChildProcess | undefined;

  static async open(link: SlowLink, folder: string): Promise<PopSite> {
    await writeFile(join(folder, 'secret'), 'what the nodes of the bench know each other by');
    const site = new PopSite(link, await SiteNetwork.open(link), folder);
    site.startRedis();
    return site;
  }

  private constructor(link: SlowLink, network: SiteNetwork, folder: string) {
    this.#link = link;
    this.#network = network;
    this.#folder = folder;
  }

  /** Empty. */
  startRedis(): void {
    const flags = ['--save', '', '--bind', this.#network.router, '--protected-mode', 'no'];
    const [program = '', ...words] = this.#link.behind(['redis-server', ...flags]);
    this.#redis = spawn(program, words, { stdio: 'ignore', cwd: this.#folder });
  }

  async stopRedis(): Promise<void> {
    const redis = this.#redis;
    this.#redis = undefined;
    if (!redis || redis.exitCode !== null || redis.signalCode !== null) return;
    const exited = once(redis, 'exit');
    redis.kill('SIGKILL');
    await exited;
  }

  /** As a Redis whose host hangs, and then does not any more. */
  signalRedis(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#redis?.kill(signal);
  }

  async flushRedis(): Promise<void> {
    await this.#run(['redis-cli', '-h', this.#network.router, 'flushall']);
  }

  /** @param name of a folder that was not used yet */
  async node(name: string, options: NodeOptions): Promise<SiteNode> {
    const { shared, cacheSize, popSize, tier, complete = false, cores } = options;
    const pop = {
      THINFS_POP: `redis://${this.#network.router}:${redisPort}`,
      THINFS_POP_SECRET: join(this.#folder, 'secret'),
      ...(popSize !== undefined && { THINFS_POP_SIZE: popSize }),
    };
    const env = {
      THINFS_ROOT: join(this.#folder, name),
      THINFS_COMPLETE: complete ? 'always' : 'never',
      ...(tier !== undefined && { THINFS_TIERS: tier }),
      THINFS_FREE_SPACE: '0',
      ...(cacheSize !== undefined && { THINFS_CACHE_SIZE: cacheSize }),
      ...(shared && pop),
    };
    const share = cores === undefined ? undefined : await CpuShare.open(name, cores);
    const place = await this.#network.addNode().catch(async (error: unknown) => {
      await share?.[Symbol.asyncDispose]();
      throw error;
    });
    const node = new SiteNode(place, env, share, () => this.#nodes.delete(node));
    this.#nodes.add(node);
    return node;
  }

  /** Bytes that have come over the link since it was made. */
  async linkBytes(): Promise<number> {
    const { stdout } = await this.#run(['cat', '/proc/net/dev']);
    const lines = stdout.split('\n').map((line) => /^\s*slow\d+:\s*(\d+)/.exec(line)?.[1]);
    return lines.reduce((sum, bytes) => sum + Number(bytes ?? 0), 0);
  }

  #run(command: readonly string[]): Promise<CommandResult> {
    const [program = '', ...words] = this.#link.behind(command);
    return runCommand(program, words);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const node of [...this.#nodes]) await node.end();
    await this.stopRedis();
  }
}

/** One node of it. */
export class SiteNode {
  readonly #place: SitePlace;
  readonly #env: Readonly<Record<string, string>>;
  readonly #share: CpuShare | undefined;
  readonly #onEnd: () => void;

  constructor(
    place: SitePlace,
    env: Readonly<Record<string, string>>,
    share: CpuShare | undefined,
    onEnd: () => void,
  ) {
    this.#place = place;
    this.#env = env;
    this.#share = share;
    this.#onEnd = onEnd;
  }

  thin(...words: string[]): Promise<CommandResult> {
    const command = [process.execPath, builtProgram('src/cli/thin.js'), ...words];
    const shared = this.#share?.behind(command) ?? command;
    const [program = '', ...rest] = this.#place.behind(shared);
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
  async run(reference: string, { flags = [], words, wanted }: StartedProgram): Promise<number> {
    const startedAt = performance.now();
    const started = await this.thin('run', '--rm', '--plain-http', ...flags, reference, ...words);
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

  /** Mounts an image for as long as `work` takes: it is known here afterwards. */
  async visit(reference: string, mountPoint: string, work: () => Promise<void>): Promise<void> {
    const mounted = await this.thin('mount', '--read-only', '--plain-http', reference, mountPoint);
    if (mounted.code !== 0) throw new Error(`Cannot mount ${reference}: ${mounted.stderr}`);
    try {
      await work();
    } finally {
      await this.thin('unmount', mountPoint);
    }
  }

  /** Waits until all of an image is here, and all that is complete in the shared tier. */
  async settled(reference: string): Promise<void> {
    const deadline = Date.now() + settleTimeoutMs;
    for (;;) {
      const { state } = whySchema.parse(
        JSON.parse((await this.thin('why', '--json', reference)).stdout),
      );
      const { stdout } = await this.thin('pop', 'status', '--json');
      const { sharedTier } = tierSchema.parse(JSON.parse(stdout));
      if (state === 'complete' && sharedTier.waiting === 0) return;
      if (Date.now() > deadline) throw new Error(`Cannot complete ${reference}: it takes too long`);
      await new Promise((resolve) => setTimeout(resolve, pollMs));
    }
  }

  /** Files of its cache that are not what they should be, of all that are read again. */
  async wrongFiles(): Promise<number> {
    const { stdout, stderr, code } = await this.thin('check', '--json');
    const last = stdout.trimEnd().split('\n').at(-1) ?? '';
    if (last !== '') return checkSchema.parse(JSON.parse(last)).wrong.length;
    throw new Error(`Cannot check a node: ${code} ${stderr}`);
  }

  /** As a program of its own that dies: its holder starts another one. */
  async killServer(): Promise<void> {
    const { stdout } = await this.thin('daemon', 'status', '--json');
    process.kill(statusSchema.parse(JSON.parse(stdout)).serverPid, 'SIGKILL');
  }

  /** Its cable is pulled. */
  async cut(): Promise<void> {
    await this.#place.cut();
  }

  async join(): Promise<void> {
    await this.#place.join();
  }

  async end(): Promise<void> {
    this.#onEnd();
    // Its state stays: where many files were deleted, ext4 is slow to make others.
    await this.thin('daemon', 'cleanup', '--force');
    await this.#place[Symbol.asyncDispose]();
    await this.#share?.[Symbol.asyncDispose]();
  }
}
