import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { runCommand } from '../../test/support/run-command.js';
import { LinkNamespace } from './link-namespace.js';

export interface LinkOptions {
  /** In each direction. */
  readonly megabitsPerSecond: number;
  readonly roundTripMs: number;
}

/** Of the addresses of this process' networks: another bench may be running. They are those for benches (RFC 2544). */
export const benchOctet = process.pid & 255;
const [there, here] = [`198.18.${benchOctet}.1`, `198.18.${benchOctet}.2`];

const source = fileURLToPath(new URL('./slow-link.c', import.meta.url));

/** How commands of a node reach this machine. */
export interface NodeLink {
  /** Of this machine, as they see it. */
  readonly address: string;
  behind(command: readonly string[]): string[];
}

/** Without a link between them. */
export const noLink: NodeLink = { address: '127.0.0.1', behind: (command) => [...command] };

/** A network namespace whose only way to this machine is a slow link, until it is disposed of. */
export class SlowLink implements NodeLink, AsyncDisposable {
  /** Of this machine, as the namespace sees it. */
  readonly address = here;
  /** Of the other end, as this machine sees it. */
  readonly farAddress = there;
  readonly #namespace: LinkNamespace;
  readonly #program: ChildProcess;

  private constructor(namespace: LinkNamespace, program: ChildProcess) {
    this.#namespace = namespace;
    this.#program = program;
  }

  /** @param folder an existing folder for the program that is the link */
  static async open(folder: string, options: LinkOptions): Promise<SlowLink> {
    const binary = join(folder, 'slow-link');
    await runCommand('cc', ['-O2', '-o', binary, source]);
    const namespace = await LinkNamespace.open('link');
    const { megabitsPerSecond, roundTripMs } = options;
    const words = [`${megabitsPerSecond}`, `${roundTripMs}`, namespace.path, here, there];
    const program = spawn(binary, words, { stdio: ['pipe', 'pipe', 'inherit'] });
    const link = new SlowLink(namespace, program);
    for await (const line of createInterface({ input: program.stdout })) {
      if (line === 'ready') return link;
    }
    await link[Symbol.asyncDispose]();
    throw new Error('Cannot make a slow link: its program has ended');
  }

  /** Of the namespace, as `ip netns` has it. */
  get namespace(): string {
    return this.#namespace.name;
  }

  behind(command: readonly string[]): string[] {
    return this.#namespace.behind(command);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#program.exitCode === null) {
      const exited = once(this.#program, 'exit');
      this.#program.stdin?.end();
      await exited;
    }
    await this.#namespace[Symbol.asyncDispose]();
  }
}
