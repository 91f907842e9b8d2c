import { type ChildProcess, fork } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LRUCache } from 'lru-cache';
import type { FileRef } from '../cache/file-origin.js';
import type { SharedFiles } from '../cache/shared-files.js';
import type { Digest } from '../digest.js';
import { systemClock } from '../store/clock.js';
import type { SharedTierConfig } from '../tier-option.js';
import { fairTimeout } from './fair-timeout.js';
import { PeerHealth } from './peer-health.js';
import type {
  SharedTierAnswer,
  SharedTierRequest,
  SharedTierStart,
} from './shared-tier-messages.js';

/** Milliseconds for a read: so many times its usual late answer, between two bounds. */
const deadlineHedges = 4;
const defaultDeadline = { leastMs: 100, mostMs: 500 };
/** Milliseconds between looks whether it is there, for one to be answered, and for a file to be put. */
const lookMs = 2000;
const lookTimeoutMs = 1000;
const putTimeoutMs = 60_000;
/** Milliseconds without any answer after which the process is given up, and of such that do not die. */
const hungMs = 3000;
const undeadMax = 3;
/** Threads of the process: as many reads may hang before all do. */
const threads = 16;
/** Files that wait to be put, those that are put at a time, and milliseconds of rest when that fails. */
const offersMax = 16_384;
const puttingMax = 3;
const restMs = 15_000;
/** Files that are known to be there, or not; the latter for so many milliseconds. */
const knownMax = 65_536;
const absentMs = 5000;

export interface SharedTierCounts {
  /** Reads that it answered, with their bytes. */
  reads: number;
  bytes: number;
  /** Reads of files that it has not got, that were late, and of wrong files. */
  absent: number;
  late: number;
  wrong: number;
  /** Files that this node has put there, with their bytes, and what it could not put. */
  stored: number;
  storedBytes: number;
  failures: number;
}

export interface SharedTierReport {
  readonly directory: string;
  readonly direct: boolean;
  /** Why it is not used now; null while it is. */
  readonly away: string | null;
  readonly counts: SharedTierCounts;
  /** Files that wait to be put there. */
  readonly waiting: number;
}

export interface SharedTierOptions extends SharedTierConfig {
  /** The node's state: remembers which tier it was. */
  readonly root: string;
  /** Bounds of the time that a read may lose to it, in milliseconds. */
  readonly deadline?: { readonly leastMs: number; readonly mostMs: number };
  /** It is away, with why; or is there again. */
  readonly onTurn: (why: string | undefined) => void;
}

type Ask = SharedTierRequest extends infer R ? (R extends unknown ? Omit<R, 'id'> : never) : never;
type Settle = (answer: SharedTierAnswer | undefined) => void;

/**
 * A folder on a file system that all nodes of a site mount, read under a deadline and by another
 * process: whatever becomes of it, a read loses a moment, and soon not even that.
 */
export class SharedTier implements SharedFiles, AsyncDisposable {
  readonly direct: boolean;
  readonly counts: SharedTierCounts = {
    ...{ reads: 0, bytes: 0, absent: 0, late: 0, wrong: 0, stored: 0, storedBytes: 0, failures: 0 },
  };
  readonly #options: SharedTierOptions;
  readonly #health = new PeerHealth(systemClock);
  readonly #pending = new Map<number, Settle>();
  readonly #offers = new Map<Digest, { readonly file: FileRef; readonly path: string }>();
  readonly #known = new LRUCache<Digest, boolean>({ max: knownMax });
  readonly #timer: NodeJS.Timeout;
  #process: ChildProcess | undefined;
  /** Killed, and not ended yet. */
  #undead = 0;
  #answeredAt = 0;
  #next = 1;
  #tier: string;
  #away: string | undefined = 'it was not looked at yet';
  #putting = 0;
  #restsUntil = Number.NEGATIVE_INFINITY;
  #closed: boolean;

  /** Looks at it once; does not wait for longer than a moment, and never fails. */
  static async open(options: SharedTierOptions): Promise<SharedTier> {
    const tier = new SharedTier(options);
    await tier.#look();
    return tier;
  }

  private constructor(options: SharedTierOptions) {
    this.direct = options.direct;
    this.#options = options;
    this.#closed = false;
    this.#tier = this.#remembered();
    this.#timer = setInterval(() => void this.#look(), lookMs).unref();
  }

  get directory(): string {
    return this.#options.directory;
  }

  /** Whether it is there, as far as the last look told. */
  get here(): boolean {
    return this.#away === undefined;
  }

  report(): SharedTierReport {
    const { directory, direct } = this.#options;
    const { counts } = this;
    return { directory, direct, counts, away: this.#away ?? null, waiting: this.#offers.size };
  }

  async read(file: FileRef, offset: number, length: number): Promise<Buffer | undefined> {
    const { content, size } = file;
    if (!this.here || !this.#health.usable || this.#known.get(content) === false) return undefined;
    const startedAt = performance.now();
    const request: Ask = { ask: 'read', content, size, offset, length };
    const answer = await this.#ask(request, this.#deadlineMs);
    if (answer === undefined) {
      this.counts.late += 1;
      this.#health.late(performance.now() - startedAt);
      return undefined;
    }
    if (answer.is === 'failed') this.#failed(answer.why);
    else this.#health.answered(performance.now() - startedAt);
    if (answer.is === 'wrong') this.wrong(content);
    if (answer.is === 'absent') {
      this.counts.absent += 1;
      this.#known.set(content, false, { ttl: absentMs });
    }
    if (answer.is !== 'bytes') return undefined;
    this.counts.reads += 1;
    this.counts.bytes += length;
    this.#known.set(content, true);
    const { buffer, byteOffset, byteLength } = answer.bytes;
    return Buffer.from(buffer, byteOffset, byteLength);
  }

  get #deadlineMs(): number {
    const { leastMs, mostMs } = this.#options.deadline ?? defaultDeadline;
    return Math.min(Math.max(deadlineHedges * this.#health.hedgeMs, leastMs), mostMs);
  }

  async has(file: FileRef): Promise<boolean> {
    return (await this.read(file, 0, 0)) !== undefined;
  }

  wrong(content: Digest): void {
    this.counts.wrong += 1;
    this.#known.set(content, false, { ttl: absentMs });
    void this.#ask({ ask: 'remove', content }, putTimeoutMs);
  }

  offer(file: FileRef, path: string): void {
    if (this.#known.get(file.content) === true || this.#offers.size >= offersMax) return;
    this.#offers.set(file.content, { file, path });
    void this.#putSome();
  }

  /** Never fails. */
  async #putSome(): Promise<void> {
    if (this.#putting >= puttingMax || !this.here || performance.now() < this.#restsUntil) return;
    this.#putting += 1;
    while (await this.#putOne());
    this.#putting -= 1;
  }

  /** @returns false if there is none, or the others have to wait */
  async #putOne(): Promise<boolean> {
    const [next] = this.#offers.values();
    if (!next || this.#closed) return false;
    const { file, path } = next;
    const { content, size } = file;
    this.#offers.delete(content);
    const answer = await this.#ask({ ask: 'put', content, size, from: path }, putTimeoutMs);
    if (answer?.is === 'stored' || answer?.is === 'there') {
      this.#known.set(content, true);
      if (answer.is === 'there') return true;
      this.counts.stored += 1;
      this.counts.storedBytes += size;
      return true;
    }
    this.counts.failures += 1;
    if (answer?.is === 'failed' && answer.ours) return true;
    this.#offers.set(content, next);
    this.#restsUntil = performance.now() + restMs;
    return false;
  }

  async #look(): Promise<void> {
    if (this.#closed) return;
    const answer = await this.#ask({ ask: 'look', known: this.#tier }, lookTimeoutMs);
    if (answer?.is !== 'here') {
      this.#turn(answer?.is === 'failed' ? answer.why : `no answer within ${lookTimeoutMs} ms`);
    }
    if (this.#pending.size > 0 && performance.now() - this.#answeredAt > hungMs) this.#giveUp();
  }

  #isHere(tier: string): void {
    this.#remember(tier);
    this.#turn(undefined);
    void this.#putSome();
  }

  #failed(why: string): void {
    this.counts.failures += 1;
    this.#health.failed();
    if (!this.#health.usable) this.#turn(why);
  }

  #turn(why: string | undefined): void {
    const was = this.#away;
    this.#away = why;
    if ((was === undefined) !== (why === undefined) && !this.#closed) this.#options.onTurn(why);
  }

  /** Undefined where no answer comes in time. */
  #ask(request: Ask, timeoutMs: number): Promise<SharedTierAnswer | undefined> {
    const process = this.#running();
    if (!process) return Promise.resolve(undefined);
    const id = this.#next++;
    return new Promise((resolve) => {
      const settle: Settle = (answer) => {
        end();
        resolve(answer);
      };
      // What is late stays among the pending: how many hang is told by them.
      const end = fairTimeout(timeoutMs, () => resolve(undefined));
      if (this.#pending.size === 0) this.#answeredAt = performance.now();
      this.#pending.set(id, settle);
      process.send({ id, ...request }, (error) => {
        if (error) this.#settle({ id, is: 'failed', why: error.message, ours: false });
      });
    });
  }

  #settle(answer: SharedTierAnswer): void {
    const settle = this.#pending.get(answer.id);
    this.#pending.delete(answer.id);
    // Also when it comes late: its process may have been starting.
    if (answer.is === 'here') this.#isHere(answer.tier);
    settle?.(answer);
  }

  #running(): ChildProcess | undefined {
    if (this.#process || this.#closed || this.#undead >= undeadMax) return this.#process;
    const { directory, freeSpaceFloorBytes } = this.#options;
    const start: SharedTierStart = { directory, freeSpaceFloorBytes };
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    const module = new URL(`./shared-tier-worker.${extension}`, import.meta.url);
    const child = fork(module, [JSON.stringify(start)], {
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      env: { ...process.env, UV_THREADPOOL_SIZE: String(threads) },
    });
    child.on('message', (answer: SharedTierAnswer) => {
      this.#answeredAt = performance.now();
      this.#settle(answer);
    });
    child.once('exit', () => this.#ended(child));
    child.on('error', () => {
      if (child.pid === undefined) this.#ended(child);
    });
    child.unref();
    child.channel?.unref();
    this.#process = child;
    return child;
  }

  #ended(child: ChildProcess): void {
    if (this.#process !== child) {
      this.#undead = Math.max(0, this.#undead - 1);
      return;
    }
    this.#process = undefined;
    this.#settleAll();
  }

  /** Where its threads hang it may take until the file system is back that it dies. */
  #giveUp(): void {
    const child = this.#process;
    if (!child) return;
    this.#process = undefined;
    this.#undead += 1;
    child.kill('SIGKILL');
    this.#settleAll();
  }

  #settleAll(): void {
    for (const id of [...this.#pending.keys()]) {
      this.#settle({ id, is: 'failed', why: 'it hangs', ours: false });
    }
  }

  /** What is mounted over an empty folder is missed when it is not. */
  #remembered(): string {
    try {
      const [directory, tier = ''] = readFileSync(this.#memory, 'utf8').split('\n');
      return directory === this.directory ? tier : '';
    } catch {
      return '';
    }
  }

  #remember(tier: string): void {
    this.#tier = tier;
    if (this.#remembered() === tier) return;
    try {
      writeFileSync(this.#memory, `${this.directory}\n${tier}\n`, { mode: 0o600 });
    } catch {
      // The next look tries again.
    }
  }

  get #memory(): string {
    return join(this.#options.root, 'shared-tier');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    this.#giveUp();
  }
}
