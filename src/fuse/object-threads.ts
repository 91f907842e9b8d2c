import type { PartialView } from '../cache/partial-view.js';
import { ThinError } from '../errors.js';
import { askStatistics } from './ask-statistics.js';
import { guardExit, releaseThreads } from './exit-guard.js';
import type { SharedFileList } from './file-list.js';
import { ObjectThread } from './object-thread.js';
import type { ObjectWorkerReport, ObjectWorkerUpdate } from './object-worker-messages.js';
import { settlesWithin } from './settles-within.js';

/**
 * A second thread halves the latency of reads while the first waits for a disk; more add nothing. It
 * is there while something is read: a node that is idle has no use for its memory.
 */
const threadsMax = 2;
const defaultIdleMs = 60_000;
/** Milliseconds after which a thread without requests is woken to hear what is new. */
const wakeAfterMs = 1_000;
/** Requests made to wake threads before it is given up: each wakes one of them, not a certain one. */
const wakingsMax = 16;
/** Milliseconds in which a thread that was woken comes to its end. */
const endMs = 2_000;

export interface ObjectThreadsOptions {
  readonly device: number;
  readonly mountPoint: string;
  readonly tiers: readonly string[];
  /** All that is shown at the moment. */
  readonly images: () => readonly SharedFileList[];
  readonly hear: (report: ObjectWorkerReport, from: ObjectThread) => void;
  /** Milliseconds without a read after which there is one thread, without open files. */
  readonly idleMs?: number;
}

/** The threads that answer requests. They end when the connection ends, or when told. */
export class ObjectThreads {
  /** Resolves with the first request. */
  readonly connected: Promise<void>;
  /** Resolves when INIT was answered; with false if this kernel cannot be served. */
  readonly initialized: Promise<boolean>;
  /** Resolves when all have ended, or with an error as soon as one broke. */
  readonly ended: Promise<Error | undefined>;
  readonly #options: ObjectThreadsOptions;
  readonly #running = new Set<ObjectThread>();
  readonly #unguard: () => void;
  #phase: 'serving' | 'ending' = 'serving';
  #connect: () => void = () => {};
  #initialize: (accepted: boolean) => void = () => {};
  #end: (error: Error | undefined) => void = () => {};
  #waking: NodeJS.Timeout | undefined;
  #idle: NodeJS.Timeout | undefined;

  constructor(options: ObjectThreadsOptions) {
    this.#options = options;
    this.connected = new Promise((resolve) => {
      this.#connect = resolve;
    });
    this.initialized = new Promise((resolve) => {
      this.#initialize = resolve;
    });
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    const running = () => [...this.#running].map(({ state }) => state);
    this.#unguard = guardExit(() => releaseThreads(options.mountPoint, running()));
    this.#start();
  }

  /** Tells all threads. */
  post(update: ObjectWorkerUpdate): void {
    for (const thread of this.#running) thread.post(update);
  }

  /** Has all threads close a partial file. */
  endPartial(view: PartialView): void {
    for (const thread of this.#running) thread.endPartial(view);
  }

  /**
   * Ends the threads; the mount stays. What they were asked for until then is answered.
   * @throws ThinError `unavailable` if they cannot be woken, their mount being out of reach
   */
  async stop(): Promise<void> {
    this.#phase = 'ending';
    for (const thread of this.#running) thread.tellToEnd();
    await this.#wakeUntil(() => this.#running.size === 0);
    if (await settlesWithin(this.ended, endMs)) return;
    throw new ThinError(
      'unavailable',
      `Cannot stop serving ${this.#options.mountPoint}: its mount is out of reach (kill the process)`,
    );
  }

  #start(): void {
    const { device, tiers, images } = this.#options;
    const thread: ObjectThread = new ObjectThread(
      { device, tiers, images: images() },
      { hear: (report) => this.#hear(report, thread), posted: () => this.#wakeSoon() },
    );
    this.#running.add(thread);
    thread.ended.then(
      () => this.#hasEnded(thread),
      (error: unknown) => this.#hasEnded(thread, error),
    );
  }

  #hasEnded(thread: ObjectThread, error?: unknown): void {
    this.#running.delete(thread);
    if (error !== undefined) this.#end(error instanceof Error ? error : new Error(String(error)));
    if (this.#running.size > 0) return;
    this.#phase = 'ending';
    clearTimeout(this.#waking);
    clearTimeout(this.#idle);
    this.#unguard();
    this.#end(undefined);
  }

  #hear(report: ObjectWorkerReport, thread: ObjectThread): void {
    if (report.type === 'connected') this.#connect();
    else if (report.type === 'initialized') this.#initialize(report.accepted);
    else if (report.type === 'reading') this.#serveReads();
    else this.#options.hear(report, thread);
  }

  #serveReads(): void {
    if (this.#phase === 'ending') return;
    if (this.#running.size < threadsMax) this.#start();
    clearTimeout(this.#idle);
    const { idleMs = defaultIdleMs } = this.#options;
    this.#idle = setTimeout(() => this.#rest(), idleMs).unref();
  }

  /** Has files closed, which might have been evicted, and the thread ended that started last. */
  #rest(): void {
    this.post({ type: 'close-files' });
    const last = [...this.#running].at(-1);
    if (!last || this.#running.size === 1) return;
    last.tellToEnd();
    void this.#wakeUntil(() => last.hasEnded);
  }

  #wakeSoon(): void {
    this.#waking ??= setTimeout(() => {
      this.#waking = undefined;
      void this.#wakeUntil(() => [...this.#running].every(({ isUpToDate }) => isUpToDate));
    }, wakeAfterMs).unref();
  }

  /** Makes requests until `isDone`, each of which wakes a thread; so often that it should help. */
  async #wakeUntil(isDone: () => boolean): Promise<void> {
    const giveUp = new AbortController();
    void this.ended.then(() => giveUp.abort());
    for (let waking = 0; waking < wakingsMax && !isDone(); waking++) {
      if (giveUp.signal.aborted) return;
      await askStatistics(this.#options.mountPoint, giveUp.signal);
    }
  }
}
