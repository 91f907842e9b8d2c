import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import type { Test } from 'tap';
import type { RedisAddress } from '../../src/pop-option.js';
import { cleanUp } from '../support/clean-up.js';
import { freePort } from '../support/free-port.js';

/** Milliseconds for a server to answer. */
const startMs = 90_000;

/** A real redis-server that keeps nothing on disk, and that can be stopped, paused and emptied. */
export class RedisServer {
  readonly port: number;
  readonly #folder: string;
  readonly #options: readonly string[];
  #process: ChildProcess | undefined;

  private constructor(port: number, folder: string, options: readonly string[]) {
    this.port = port;
    this.#folder = folder;
    this.#options = options;
  }

  static async start(t: Test, options: readonly string[] = []): Promise<RedisServer> {
    const folder = mkdtempSync(join(tmpdir(), 'thinfs-redis-'));
    const server = new RedisServer(await freePort(), folder, options);
    cleanUp(t, async () => {
      await server.kill();
      rmSync(folder, { recursive: true, force: true });
    });
    await server.restart();
    return server;
  }

  get address(): RedisAddress {
    const hosts = [{ host: '127.0.0.1', port: this.port }];
    return { kind: 'server', tls: false, hosts, database: 0 };
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Starts it, empty, and waits until it answers. */
  async restart(): Promise<void> {
    await this.kill();
    const settings = ['--port', String(this.port), '--bind', '127.0.0.1', '--save', ''];
    const all = [...settings, '--dir', this.#folder, ...this.#options];
    const started = spawn('redis-server', all, { stdio: 'ignore' });
    this.#process = started;
    const deadline = Date.now() + startMs;
    while (!(await this.#answers())) {
      if (Date.now() > deadline || started.exitCode !== null) throw new Error('no redis-server');
    }
  }

  async #answers(): Promise<boolean> {
    try {
      return (await this.ask((client) => client.ping())) === 'PONG';
    } catch {
      return new Promise((resolve) => setTimeout(() => resolve(false), 20));
    }
  }

  /** Talks to it over a connection of its own. */
  async ask<T>(what: (client: Redis) => Promise<T>): Promise<T> {
    const client = new Redis({
      port: this.port,
      host: '127.0.0.1',
      lazyConnect: true,
      retryStrategy: () => null,
    });
    client.on('error', () => undefined);
    try {
      await client.connect();
      return await what(client);
    } finally {
      client.disconnect();
    }
  }

  /** As a host that hangs: connections stay, nothing is answered. */
  pause(): void {
    this.#process?.kill('SIGSTOP');
  }

  resume(): void {
    this.#process?.kill('SIGCONT');
  }

  async kill(): Promise<void> {
    const running = this.#process;
    this.#process = undefined;
    if (!running || running.exitCode !== null || running.signalCode !== null) return;
    const ended = new Promise((resolve) => running.once('exit', resolve));
    running.kill('SIGKILL');
    await ended;
  }
}
