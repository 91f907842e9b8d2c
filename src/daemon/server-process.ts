import { type ChildProcess, spawn } from 'node:child_process';
import { Socket } from 'node:net';
import { describeError } from '../errors.js';
import {
  deviceDescriptor,
  deviceVariable,
  type HolderOrder,
  linkDescriptor,
  linkVariable,
  type ServerSettings,
  type ServerStop,
  type StartReport,
} from './holder-protocol.js';
import { onJsonLine } from './json-lines.js';

/** Threads for disk, decoding and hashing: a hanging disk may hold several, reads go on beside it. */
const threadPoolSize = '16';
/**
 * A pull makes a gigabyte of short-lived buffers: V8 is to look for them often, and when it is told.
 * It is to compile what runs for long, and not what a pull of some seconds runs: that takes a sixth of
 * the pull's CPU and does not come back. The only WebAssembly is undici's parser of HTTP, for which the
 * quick compiler (Liftoff) will do: the other takes 30 MB and 0.2 s for it, at the first pull. Young objects
 * are half a MiB, collected hundreds of times in a pull: waking other threads for that costs more than they do.
 */
export const serverNodeArguments: readonly string[] = [
  '--max-semi-space-size=1',
  '--expose-gc',
  '--interrupt-budget=1000000',
  '--liftoff-only',
  '--no-parallel-scavenge',
];
/**
 * Of every server, whoever starts it. What many threads allocate and free goes back to the system, instead of
 * staying with each.
 */
export const serverEnvironment = {
  UV_THREADPOOL_SIZE: threadPoolSize,
  MALLOC_ARENA_MAX: '2',
  MALLOC_MMAP_THRESHOLD_: '131072',
};
/** Milliseconds for a server to end in order before it is killed; unmounting takes longest. */
const endDeadlineMs = 30_000;

export interface Refusal {
  readonly code: string;
  readonly message: string;
}

export interface ServerEnd {
  readonly how: 'died' | 'in-order' | 'wants-device';
  /** For people. */
  readonly reason: string;
}

/** A running server, as its holder sees it. */
export class ServerProcess {
  readonly pid: number;
  readonly startedAt = performance.now();
  /** Settles once: with `ready: false` also if it dies first. */
  readonly started: Promise<StartReport>;
  readonly ended: Promise<ServerEnd>;
  readonly #link: Socket;
  #how: ServerEnd['how'] = 'died';
  #needsDevice: boolean | undefined;
  #stopOrdered = false;
  #hasServed = false;
  #report: (report: StartReport) => void = () => {};
  #refuse: (refusal: Refusal) => void = () => {};

  /**
   * Never fails: one that cannot be started, for want of memory say, has ended.
   * @param device open /dev/fuse, which the server inherits
   */
  static spawn(settings: ServerSettings, device: number | undefined): ServerProcess {
    try {
      return ServerProcess.#spawn(settings, device);
    } catch (error) {
      return new ServerProcess(0, new Socket().destroy(), Promise.resolve(notStarted(error)));
    }
  }

  static #spawn(settings: ServerSettings, device: number | undefined): ServerProcess {
    const child = spawn(settings.node, serverArguments(settings), {
      // A session of its own: Ctrl-C in a terminal is for the holder, which ends it in order.
      detached: true,
      cwd: '/',
      stdio: ['ignore', 'inherit', 'inherit', 'pipe', device ?? 'ignore'],
      env: {
        ...process.env,
        ...settings.env,
        ...serverEnvironment,
        [linkVariable]: '1',
        [deviceVariable]: device === undefined ? undefined : `${deviceDescriptor}`,
      },
    });
    const ended = childEnd(child);
    const link = child.stdio?.[linkDescriptor]; // there is none for want of descriptors
    if (!(link instanceof Socket)) return new ServerProcess(0, new Socket().destroy(), ended);
    return new ServerProcess(child.pid ?? 0, link, ended);
  }

  /** @param descriptor our end of the link to a server that is not our child */
  static adopt(pid: number, descriptor: number): ServerProcess {
    return new ServerProcess(pid, new Socket({ fd: descriptor }), undefined);
  }

  private constructor(pid: number, link: Socket, childEnded: Promise<string> | undefined) {
    this.pid = pid;
    this.#link = link;
    const closed = new Promise<void>((resolve) => {
      link.once('close', () => resolve());
    });
    link.on('error', () => {}); // a close follows
    onJsonLine(link, (line) => this.#receive(line));
    this.ended = (async (): Promise<ServerEnd> => {
      const how = await (childEnded ?? closed.then(() => 'has died'));
      // What it said last may still be on its way.
      if (pid > 0) await closed;
      const reason = `server ${pid} ${how}`;
      this.#report({ ready: false, code: 'unavailable', message: reason });
      return { how: this.#how, reason };
    })();
    this.started = new Promise((resolve) => {
      this.#report = resolve;
    });
  }

  /** Whether mounts live by the device; undefined if it has not told. */
  get needsDevice(): boolean | undefined {
    return this.#needsDevice;
  }

  /** True once it has been ready. */
  get hasServed(): boolean {
    return this.#hasServed;
  }

  /** True once it has been told to stop and has not refused. */
  get stopOrdered(): boolean {
    return this.#stopOrdered;
  }

  /** Resolves when it has ended, or with why it will not. It is killed if it takes too long. */
  async stop(order: ServerStop): Promise<Refusal | undefined> {
    const refused = new Promise<Refusal>((resolve) => {
      this.#refuse = resolve;
    });
    this.#stopOrdered = true;
    this.#send({ order: 'stop', ...order });
    const late = setTimeout(() => this.kill(), endDeadlineMs);
    try {
      const refusal = await Promise.race([refused, this.ended.then(() => undefined)]);
      if (refusal) this.#stopOrdered = false;
      return refusal;
    } finally {
      clearTimeout(late);
    }
  }

  kill(): void {
    // As long as the link is open the number is this process's.
    if (this.pid > 0 && !this.#link.destroyed) process.kill(this.pid, 'SIGKILL');
  }

  #send(order: HolderOrder): void {
    this.#link.write(`${JSON.stringify(order)}\n`);
  }

  /** It may be another version than ours: what we do not know is passed over. */
  #receive({ news, code, message, ...line }: Readonly<Record<string, unknown>>): void {
    const refusal = { code: `${code}`, message: `${message}` };
    if (news === 'ready') {
      this.#hasServed = true;
      this.#report({ ready: true });
    }
    if (news === 'failed') this.#report({ ready: false, ...refusal });
    if (news === 'refused') this.#refuse(refusal);
    if (news === 'mounts') this.#needsDevice = line.needDevice === true;
    if (news === 'ending') this.#how = line.renew === true ? 'wants-device' : 'in-order';
  }
}

/** Arguments of Node.js for a server. */
export function serverArguments({ nodeArguments, program, flags }: ServerSettings): string[] {
  const words = [program, 'daemon', 'serve', ...Object.values(flags).flat()];
  return [...serverNodeArguments, ...nodeArguments, ...words];
}

function childEnd(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(notStarted(error)));
    child.once('exit', (code, signal) => {
      resolve(signal ? `was ended by ${signal}` : `ended with exit code ${code}`);
    });
  });
}

function notStarted(error: unknown): string {
  return `could not be started: ${describeError(error)}`;
}
