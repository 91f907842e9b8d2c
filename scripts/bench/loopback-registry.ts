import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** A real docker-registry on the loopback, which ends when it is disposed of. */
export class LoopbackRegistry implements AsyncDisposable {
  /** `127.0.0.1:<port>` */
  readonly host: string;
  readonly port: number;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.host = `127.0.0.1:${port}`;
    this.port = port;
  }

  /**
   * @param folder an existing folder for its configuration and storage
   * @param port of one that was stopped, to start it again; 0: any free one
   * @param address where it listens; `0.0.0.0` is the loopback and all others of this machine
   */
  static async open(folder: string, port = 0, address = '127.0.0.1'): Promise<LoopbackRegistry> {
    const config = join(folder, 'registry.yml');
    const storage = { filesystem: { rootdirectory: join(folder, 'registry') } };
    const http = { addr: `${address}:${port}`, secret: 'of the bench' };
    // YAML holds JSON.
    await writeFile(
      config,
      JSON.stringify({ version: '0.1', log: { level: 'info' }, storage, http }),
    );
    const child = spawn('docker-registry', ['serve', config], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    for await (const line of createInterface({ input: child.stderr })) {
      const opened = /listening on [^ ]*:(\d+)/.exec(line)?.[1];
      if (opened === undefined) continue;
      child.stderr.resume(); // the rest of its log goes nowhere, without filling the pipe
      return new LoopbackRegistry(child, Number(opened));
    }
    throw new Error('Cannot start docker-registry: it ended before it listened');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL'); // nothing of its storage is worth a shutdown
    await exited;
  }
}
