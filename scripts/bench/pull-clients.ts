import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import type { PullMode } from '../../src/pull/pull-mode.js';
import { runCommand } from '../../test/support/run-command.js';
import { timed } from './measurement.js';
import { builtProgram } from './thin-node.js';

/** What one pull cost. */
export interface PullCost {
  readonly milliseconds: number;
  /** Most memory that the process which pulls had at once, in bytes, where that is one process. */
  readonly peakMemory?: number;
  /** Milliseconds that the machine's cores would have needed for what they did meanwhile, all of them busy. */
  readonly coresMs?: number;
}

/** A program that pulls images, each time into a state that is new. */
export interface PullClient {
  readonly name: string;
  pull(reference: string): Promise<PullCost>;
}

/** Where a client keeps its state, and how its programs are run: behind a link, or as they are. */
export interface ClientPlace {
  readonly folder: string;
  readonly behind: (command: readonly string[]) => string[];
}

/** A containerd of its own, with its overlayfs snapshotter. It unpacks each layer when all is here. */
export function containerdClient({ folder, behind }: ClientPlace): PullClient {
  const state = join(folder, 'containerd');
  const socket = join(state, 'containerd.sock');
  const ctr = (...words: string[]) => run(behind(['ctr', '--address', socket, ...words]));
  return {
    name: 'containerd',
    pull: async (reference) => {
      await mkdir(state, { recursive: true });
      const config = join(state, 'config.toml');
      await writeFile(config, containerdConfig(state, socket));
      const [program = '', ...words] = behind(['containerd', '--config', config]);
      const daemon = spawn(program, words, { stdio: 'ignore', env: environmentOf(state) });
      const exited = once(daemon, 'exit');
      try {
        await until(async () => existsSync(socket) && (await answers(ctr)));
        const pull = ['images', 'pull', '--plain-http', '--snapshotter', 'overlayfs', reference];
        return { milliseconds: await timed(() => ctr(...pull)) };
      } finally {
        daemon.kill('SIGTERM');
        await exited;
        await emptied(state);
      }
    },
  };
}

function containerdConfig(state: string, socket: string): string {
  return `version = 2
root = "${join(state, 'root')}"
state = "${join(state, 'state')}"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs", \
"io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper", \
"io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "${socket}"
`;
}

/** Its temporary mounts are below its state, too. */
function environmentOf(state: string): NodeJS.ProcessEnv {
  return { ...process.env, TMPDIR: state };
}

async function answers(ctr: (...words: string[]) => Promise<unknown>): Promise<boolean> {
  return ctr('version').then(
    () => true,
    () => false,
  );
}

/** skopeo into a folder, then umoci: six downloads at once, then one layer after the other. */
export function umociClient({ folder, behind }: ClientPlace): PullClient {
  const state = join(folder, 'umoci');
  const [layout, bundle] = [join(state, 'layout'), join(state, 'bundle')];
  return {
    name: 'skopeo + umoci',
    pull: async (reference) => {
      await mkdir(state, { recursive: true });
      try {
        const copy = ['--insecure-policy', 'copy', '--quiet', '--src-tls-verify=false'];
        const milliseconds = await timed(async () => {
          const target = `oci:${layout}:1`;
          await run(behind(['skopeo', ...copy, `docker://${reference}`, target]));
          await run(['umoci', 'unpack', '--image', `${layout}:1`, bundle]);
        });
        return { milliseconds };
      } finally {
        await emptied(state);
      }
    },
  };
}

/** `thin pull` with a daemon that runs, and has nothing. */
export function thinClient(mode: PullMode, { folder, behind }: ClientPlace): PullClient {
  const root = join(folder, 'thin');
  const program = [process.execPath, builtProgram('src/cli/thin.js')];
  const env = { THINFS_ROOT: root, THINFS_FREE_SPACE: '0' };
  const thin = (...words: string[]) => run(behind([...program, ...words]), env);
  return {
    name: `thin, ${mode}`,
    pull: async (reference) => {
      await thin('daemon', 'start');
      try {
        const pull = ['pull', '--quiet', '--plain-http', '--pull-mode', mode, reference];
        const busyBefore = busyMs();
        const milliseconds = await timed(() => thin(...pull));
        const coresMs = (busyMs() - busyBefore) / cpus().length;
        const { stdout } = await thin('daemon', 'status', '--json');
        return { milliseconds, coresMs, peakMemory: await peakMemoryOf(serverPid(stdout)) };
      } finally {
        await thin('daemon', 'cleanup', '--force', '--purge');
        await emptied(root);
      }
    },
  };
}

/** Of all cores since the machine began, whoever it was for: the registry and the network have their part. */
function busyMs(): number {
  const all = cpus().map(({ times }) => times.user + times.nice + times.sys + times.irq);
  return all.reduce((sum, ms) => sum + ms, 0);
}

function serverPid(status: string): number {
  const pid = Number(/"serverPid":(\d+)/.exec(status)?.[1]);
  if (Number.isInteger(pid)) return pid;
  throw new Error(`Cannot tell the memory of a pull: no server in ${status}`);
}

/** Resident at most, in bytes, since the process began. */
export async function peakMemoryOf(pid: number): Promise<number> {
  const peak = /VmHWM:\s+(\d+) kB/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1];
  if (peak === undefined) throw new Error(`Cannot tell the memory of process ${pid}`);
  return Number(peak) * 1024;
}

/** What a link lets through: the blobs one after the other, over one connection, to nowhere. */
export function onlyTheBytes({ behind }: Pick<ClientPlace, 'behind'>): PullClient {
  const program = `
    const [, base, ...digests] = process.argv;
    const agent = new (require('node:http').Agent)({ keepAlive: true, maxSockets: 1 });
    const get = (digest) => new Promise((resolve, reject) => {
      require('node:http').get(base + digest, { agent }, (answer) => {
        if (answer.statusCode !== 200) reject(new Error(answer.statusCode));
        answer.on('end', resolve).on('error', reject).resume();
      }).on('error', reject);
    });
    (async () => { for (const digest of digests) await get(digest); agent.destroy(); })();`;
  return {
    name: 'only the bytes',
    pull: async (reference) => {
      const [, host, name] = /^([^/]+)\/(.+):[^:]+$/.exec(reference) ?? [];
      const { stdout } = await run([
        ...['skopeo', '--insecure-policy', 'inspect', '--raw', '--tls-verify=false'],
        `docker://${reference}`.replace(/\/\/[^:/]+/, '//127.0.0.1'),
      ]);
      const digests = [...stdout.matchAll(/sha256:[0-9a-f]{64}/g)].map(([digest]) => digest);
      const words = [`http://${host}/v2/${name}/blobs/`, ...digests];
      const fetch = behind([process.execPath, '-e', program, ...words]);
      return { milliseconds: await timed(() => run(fetch)) };
    },
  };
}

function run(words: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const [program = '', ...args] = words;
  return runCommand(program, args, { env });
}

/** What one client leaves to be written must not be written while the next is measured. */
async function emptied(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true });
  await runCommand('sync', []);
}

/** Milliseconds between two looks, and in all. */
const pollMs = 20;
const pollTimeoutMs = 30_000;

async function until(condition: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + pollTimeoutMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error('Cannot measure: containerd does not start');
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}
