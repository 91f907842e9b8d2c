import { type ChildProcess, fork } from 'node:child_process';
import { fairTimeout } from './fair-timeout.js';
import type {
  SharedTierAnswer,
  SharedTierRequest,
  SharedTierStart,
  WithoutId,
} from './shared-tier-messages.js';

/**
 * Milliseconds without any answer after which the process is given up, and until it says that it has started:
 * one that a busy machine is slow to start would be killed again and again.
 */
const hungMs = 3000;
const startMs = 30_000;
/** Of such that do not die. */
const undeadMax = 3;
/** Threads of the process: as many questions may hang before all do. */
const threads = 16;

export type TierQuestion = WithoutId<SharedTierRequest>;
type Settle = (answer: SharedTierAnswer) => void;

/**
 * The process that touches the shared tier (shared-tier-worker.ts): started when something is asked,
 * and given up when nothing is answered any more.
 */
export class SharedTierLink implements Disposable {
  readonly #start: SharedTierStart;
  readonly #onHere: (tier: string) => void;
  readonly #pending = new Map<number, Settle>();
  /** Asked at the same moment: a message of many costs little more than one of one. */
  #outbox: SharedTierRequest[] = [];
  #process: ChildProcess | undefined;
  /** Killed, and not ended yet. */
  #undead = 0;
  #answeredAt = 0;
  #hasStarted: boolean = false;
  #next = 1;
  #closed: boolean;

  /** @param onHere told of each look that found the tier, also when that came late */
  constructor(start: SharedTierStart, onHere: (tier: string) => void) {
    this.#start = start;
    this.#onHere = onHere;
    this.#closed = false;
  }

  /**
   * Undefined where no answer comes in time. Never fails.
   * @param timeoutMs none: until there is one, or the process is given up
   */
  ask(request: TierQuestion, timeoutMs?: number): Promise<SharedTierAnswer | undefined> {
    if (!this.#running()) return Promise.resolve(undefined);
    const id = this.#next++;
    return new Promise((resolve) => {
      const settle: Settle = (answer) => {
        end();
        resolve(answer);
      };
      // What is late stays among the pending: that all hang is told by them.
      const late = () => resolve(undefined);
      const end = timeoutMs === undefined ? () => undefined : fairTimeout(timeoutMs, late);
      if (this.#pending.size === 0) this.#answeredAt = performance.now();
      this.#pending.set(id, settle);
      this.#outbox.push({ id, ...request });
      if (this.#outbox.length === 1) setImmediate(() => this.#send());
    });
  }

  #send(): void {
    // What has been settled as its process ended is of no use to the next one.
    const requests = this.#outbox.filter(({ id }) => this.#pending.has(id));
    this.#outbox = [];
    if (requests.length === 0) return;
    const fail = (why: string) => {
      for (const { id } of requests) this.#settle({ id, is: 'failed', why, ours: false });
    };
    const process = this.#running();
    if (process) process.send(requests, (error) => error && fail(error.message));
    else fail('it hangs');
  }

  giveUpIfHung(): void {
    const limitMs = this.#hasStarted ? hungMs : startMs;
    if (this.#pending.size > 0 && performance.now() - this.#answeredAt > limitMs) this.giveUp();
  }

  #settle(answer: SharedTierAnswer): void {
    const settle = this.#pending.get(answer.id);
    this.#pending.delete(answer.id);
    // Also when it comes late: its process may have been starting.
    if (answer.is === 'here' && !this.#closed) this.#onHere(answer.tier);
    settle?.(answer);
  }

  #running(): ChildProcess | undefined {
    if (this.#process || this.#closed || this.#undead >= undeadMax) return this.#process;
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    const module = new URL(`../pop/shared-tier-worker.${extension}`, import.meta.url);
    const { directory, freeSpaceFloorBytes } = this.#start;
    let child: ChildProcess;
    try {
      child = fork(module, [directory, String(freeSpaceFloorBytes)], {
        serialization: 'advanced',
        stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
        env: { ...process.env, UV_THREADPOOL_SIZE: String(threads) },
      });
    } catch {
      return undefined; // for want of memory, say: the next question tries again
    }
    child.on('message', (answers: readonly SharedTierAnswer[]) => {
      if (this.#process === child) this.#hasStarted = true;
      this.#answeredAt = performance.now();
      for (const answer of answers) this.#settle(answer);
    });
    child.once('exit', () => this.#ended(child));
    child.on('error', () => {
      if (child.pid === undefined) this.#ended(child);
    });
    child.unref();
    child.channel?.unref();
    this.#process = child;
    this.#hasStarted = false;
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

  /**
   * What was asked has failed; the next question starts another process. Where the threads of this one hang
   * it may take until the file system is back that it dies.
   */
  giveUp(): void {
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

  [Symbol.dispose](): void {
    this.#closed = true;
    this.giveUp();
  }
}
