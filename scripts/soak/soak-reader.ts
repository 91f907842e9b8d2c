import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { until } from '../until.js';
import type { SoakNode } from './soak-node.js';

/** Milliseconds for readers to end what they are doing, with stores and daemon back. */
const endMs = 60_000;
const slowestMax = 5;
const script = fileURLToPath(new URL('./reader.py', import.meta.url));

const eventSchema = z.object({
  /** Seconds since 1970, at its end. */
  at: z.number(),
  problem: z.string().nullish(),
  way: z.string().optional(),
  path: z.string().optional(),
  /** Seconds. */
  took: z.number().optional(),
  /** Of the last line: operations by kind. */
  summary: z.record(z.string(), z.number()).optional(),
  bytes: z.number().optional(),
  /** Operations by length; reader.py says how long. */
  lengths: z.array(z.number()).optional(),
  longest: z.number().optional(),
});
type ReaderEvent = z.infer<typeof eventSchema>;

export interface Problem {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly text: string;
  readonly isWrongBytes: boolean;
}

/** What a container saw. */
export interface ReaderResult {
  readonly operations: number;
  readonly bytes: number;
  readonly problems: readonly Problem[];
  /** The longest operations, for people. */
  readonly slowest: readonly string[];
  /** Seconds. */
  readonly longest: number;
  readonly p99: number;
}

/** A container that reads its image until it is told to stop. */
export class SoakReader {
  readonly #out: string;
  readonly #workers: number;
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | string>;
  #output = '';

  /** @param known the image's tree on the host @param out folder for what it says */
  static async start(
    node: SoakNode,
    options: { image: string; known: string; out: string; seed: number; workers: number },
  ): Promise<SoakReader> {
    const { image, known, out, seed, workers } = options;
    await mkdir(out, { recursive: true });
    await copyFile(script, join(out, 'reader.py'));
    const volumes = ['-v', `${known}:/known:ro`, '-v', `${out}:/out`];
    const command = ['python3', '-I', '-B', '/out/reader.py', '/out', `${seed}`, `${workers}`];
    const words = ['run', '--rm', '-q', '--name', 'reader', ...volumes, image, ...command];
    const child = spawn(process.execPath, [node.program, ...words], {
      env: { ...process.env, ...node.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const reader = new SoakReader(child, out, workers);
    await until('the container reads', () => {
      if (child.exitCode !== null) throw new Error(`the container ended: ${reader.#output}`);
      return reader.#output.includes('reading');
    });
    return reader;
  }

  private constructor(child: ChildProcess, out: string, workers: number) {
    this.#child = child;
    this.#out = out;
    this.#workers = workers;
    this.#ended = new Promise((resolve) => {
      child.once('close', (code, signal) => resolve(code ?? signal ?? 'nothing'));
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#output += text;
      });
    }
  }

  /** False when it has ended by itself, which it must not. */
  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Resolves when the container has no file open but its own program's. */
  async pause(): Promise<void> {
    await writeFile(join(this.#out, 'pause'), '');
    await until('all readers pause', () => !this.isRunning || this.#paused() === this.#workers);
  }

  async resume(): Promise<void> {
    await rm(join(this.#out, 'pause'), { force: true });
    await until('all readers go on', () => !this.isRunning || this.#paused() === 0);
  }

  #paused(): number {
    const marks = Array.from({ length: this.#workers }, (_, n) => join(this.#out, `paused-${n}`));
    return marks.filter((path) => existsSync(path)).length;
  }

  /** Ends it, in order if it can. */
  async stop(): Promise<ReaderResult> {
    await rm(join(this.#out, 'pause'), { force: true });
    await writeFile(join(this.#out, 'stop'), '');
    const timer = new AbortController();
    const late = delay(endMs, 'late', { signal: timer.signal }).catch(() => 'late');
    const end = await Promise.race([this.#ended, late]);
    timer.abort();
    const problems: Problem[] = [];
    const note = (text: string): void => {
      problems.push({ at: Date.now(), text, isWrongBytes: false });
    };
    if (end === 'late') note(`hangs: ${await this.#doing()}`);
    else if (end !== 0) note(`ended with ${end}: ${this.#output.trim()}; ${await this.#doing()}`);
    const result = await this.#result();
    return { ...result, problems: [...problems, ...result.problems] };
  }

  /** Gives up on it. */
  kill(): void {
    this.#child.kill('SIGKILL');
  }

  /** What the workers were at last. */
  async #doing(): Promise<string> {
    const marks = (await readdir(this.#out)).filter((name) => name.startsWith('now-'));
    const texts = await Promise.all(marks.map((name) => readFile(join(this.#out, name), 'utf8')));
    return texts.map((text) => text.trim()).join('; ');
  }

  async #result(): Promise<ReaderResult> {
    const events: ReaderEvent[] = [];
    for (let worker = 0; worker < this.#workers; worker++) {
      const text = await readFile(join(this.#out, `${worker}.jsonl`), 'utf8').catch(() => '');
      const lines = text.split('\n').filter(Boolean);
      events.push(...lines.map((line) => eventSchema.parse(JSON.parse(line))));
    }
    const sum = (values: readonly (number | undefined)[]): number =>
      values.reduce<number>((total, value = 0) => total + value, 0);
    const lengths = Array.from({ length: 64 }, (_, at) =>
      sum(events.map((event) => event.lengths?.[at])),
    );
    const longest = events.flatMap(({ took, longest }) => [took ?? 0, longest ?? 0]);
    const slowest = events.sort((one, other) => (other.took ?? 0) - (one.took ?? 0));
    return {
      operations: sum(lengths),
      bytes: sum(events.map(({ bytes }) => bytes)),
      problems: events.flatMap(problemOf),
      slowest: slowest.slice(0, slowestMax).map(describeEvent),
      longest: Math.max(0, ...longest),
      p99: lengthAt(lengths, 0.99),
    };
  }
}

function problemOf(event: ReaderEvent): Problem[] {
  const { at, problem } = event;
  if (problem === undefined || problem === null) return [];
  const isWrongBytes = problem.startsWith('wrong bytes');
  return [{ at: at * 1000, text: describeEvent(event), isWrongBytes }];
}

function describeEvent({ at, way, path, problem, took = 0 }: ReaderEvent): string {
  const time = new Date(at * 1000).toISOString();
  return `${time} after ${took.toFixed(1)} s: ${way} ${path}: ${problem ?? 'right'}`;
}

/** Seconds within which this share of the operations ended; as reader.py classes them. */
function lengthAt(lengths: readonly number[], share: number): number {
  const all = lengths.reduce((total, count) => total + count, 0);
  let seen = 0;
  for (const [at, count] of lengths.entries()) {
    seen += count;
    if (seen >= all * share) return 0.0001 * 1.25 ** at;
  }
  return 0;
}
