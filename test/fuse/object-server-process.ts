import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline/promises';
import { fileURLToPath } from 'node:url';
import { cleanUp, type Teardown } from '../support/clean-up.js';

const serveProgram = fileURLToPath(new URL('./serve-objects.program.ts', import.meta.url));
const readProgram = fileURLToPath(new URL('./read-objects.py', import.meta.url));

/** A process whose lines on stdout are awaited. */
export class TalkingProcess {
  readonly child: ChildProcess;
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  readonly #lines: string[] = [];
  #heard: () => void = () => {};
  #phase: 'talking' | 'silent' = 'talking';

  constructor(t: Teardown, command: string, args: readonly string[], device?: number) {
    const extra = device === undefined ? [] : [device];
    this.child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit', ...extra] });
    this.ended = once(this.child, 'exit').then(([code, signal]) => ({ code, signal }));
    cleanUp(t, () => this.kill());
    if (!this.child.stdout) throw new Error('no stdout');
    const lines = createInterface({ input: this.child.stdout });
    lines.on('line', (line) => {
      this.#lines.push(line);
      this.#heard();
    });
    lines.once('close', () => {
      this.#phase = 'silent';
      this.#heard();
    });
  }

  /** The next line. @throws Error if the process ends instead */
  async line(): Promise<string> {
    while (this.#lines.length === 0) {
      if (this.#phase === 'silent')
        throw new Error(`It ended: ${JSON.stringify(await this.ended)}`);
      await new Promise<void>((resolve) => {
        this.#heard = resolve;
      });
    }
    return this.#lines.shift() ?? '';
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL') {
    this.child.kill(signal);
    return this.ended.then(() => {});
  }
}

/** Starts serve-objects.program.ts with a descriptor that this process keeps. */
export function startObjectServer(t: Teardown, settings: string, device: number): TalkingProcess {
  const args = ['--import', 'tsx', serveProgram, settings];
  return new TalkingProcess(t, process.execPath, args, device);
}

export interface ReadResult {
  readonly reads: number;
  readonly wrong: number;
  readonly errors: readonly string[];
  readonly stuck: number;
  readonly longest: number;
}

export interface Readers {
  /** Ends the reading. */
  finish(): Promise<ReadResult>;
}

/** Starts read-objects.py. @param pairs what to read, and where the same bytes are */
export async function startReaders(
  t: Teardown,
  threads: number,
  pairs: readonly (readonly [string, string])[],
): Promise<Readers> {
  const readers = new TalkingProcess(t, 'python3', [readProgram, `${threads}`]);
  readers.child.stdin?.write(`${JSON.stringify(pairs)}\n`);
  await readers.line();
  return {
    finish: async () => {
      readers.child.stdin?.end();
      return JSON.parse(await readers.line());
    },
  };
}
