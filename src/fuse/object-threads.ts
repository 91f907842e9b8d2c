import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { ThinError } from '../errors.js';
import { startWorker } from '../worker-module.js';
import { askStatistics } from './ask-statistics.js';
import { guardExit, releaseThreads } from './exit-guard.js';
import type { SharedFileList } from './file-list.js';
import {
  type ObjectWorkerData,
  type ObjectWorkerReport,
  type ObjectWorkerUpdate,
  threadState,
} from './object-worker-messages.js';
import { settlesWithin } from './settles-within.js';

/** A second thread halves the latency of reads while the first waits for a disk; more add nothing. */
const threadCount = 2;
/** Heap of one thread: it keeps next to nothing, and garbage is collected before it takes space. */
const resourceLimits = { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 24, stackSizeMb: 1 };
/** Milliseconds after which a thread without requests is woken to hear what is new. */
const wakeAfterMs = 1_000;
/** Requests made to wake threads before it is given up: each wakes one of them, not a certain one. */
const wakingsMax = 16;
/** Milliseconds in which a thread that was woken comes to its end. */
const endMs = 2_000;

export interface ThreadsOptions {
  readonly device: number;
  readonly mountPoint: string;
  readonly tiers: readonly string[];
  readonly images: readonly SharedFileList[];
  readonly hear: (report: ObjectWorkerReport, from: ObjectThread) => void;
}

/** A thread that serves, as the main thread sees it. */
export interface ObjectThread {
  /** Tells it something, which it hears before it answers its next request. */
  post(update: ObjectWorkerUpdate): void;
}

/** The threads that answer requests. They end together: when the connection ends, or when told. */
export class ObjectThreads {
  /** Resolves with the first request. */
  readonly connected: Promise<void>;
  /** Resolves when INIT was answered; with false if this kernel cannot be served. */
  readonly initialized: Promise<boolean>;
  /** Resolves when all have ended, or with an error as soon as one broke. */
  readonly ended: Promise<Error | undefined>;
  readonly #mountPoint: string;
  readonly #stop = sharedNumbers(1);
  readonly #threads: readonly Thread[];
  readonly #allEnded: Promise<unknown>;
  #connect: () => void = () => {};
  #initialize: (accepted: boolean) => void = () => {};
  #waking: NodeJS.Timeout | undefined;

  constructor({ mountPoint, hear, ...rest }: ThreadsOptions) {
    this.#mountPoint = mountPoint;
    this.connected = new Promise((resolve) => {
      this.#connect = resolve;
    });
    this.initialized = new Promise((resolve) => {
      this.#initialize = resolve;
    });
    const stop = this.#stop;
    const data = { ...rest, stop };
    this.#threads = Array.from({ length: threadCount }, () => {
      const thread: Thread = new Thread(data, {
        hear: (report) => this.#hear(report, thread, hear),
        posted: () => this.#wakeSoon(),
      });
      return thread;
    });
    const states = this.#threads.map(({ state }) => state);
    const unguard = guardExit(() => releaseThreads({ mountPoint, stop, states }));
    const ends = this.#threads.map(({ ended }) => ended);
    this.#allEnded = Promise.allSettled(ends).then(() => {
      clearTimeout(this.#waking);
      unguard();
    });
    this.ended = Promise.all(ends).then(() => undefined, asError);
  }

  /** Tells all threads. */
  post(update: ObjectWorkerUpdate): void {
    for (const thread of this.#threads) thread.post(update);
  }

  /**
   * Ends the threads; the mount stays. What they were asked for until then is answered.
   * @throws ThinError `unavailable` if they cannot be woken, their mount being out of reach
   */
  async stop(): Promise<void> {
    Atomics.store(this.#stop, 0, 1);
    if (await this.#wake(() => settlesWithin(this.#allEnded, 0))) return;
    if (await settlesWithin(this.#allEnded, endMs)) return;
    throw new ThinError(
      'unavailable',
      `Cannot stop serving ${this.#mountPoint}: its mount is out of reach (kill the process)`,
    );
  }

  /** Waits until all threads have heard everything. False if they cannot be woken. */
  settle(): Promise<boolean> {
    return this.#wake(async () => this.#threads.every((thread) => thread.isUpToDate));
  }

  #hear(report: ObjectWorkerReport, thread: Thread, hear: ThreadsOptions['hear']): void {
    if (report.type === 'connected') this.#connect();
    else if (report.type === 'initialized') this.#initialize(report.accepted);
    else hear(report, thread);
  }

  #wakeSoon(): void {
    this.#waking ??= setTimeout(() => {
      this.#waking = undefined;
      void this.settle();
    }, wakeAfterMs).unref();
  }

  /** Makes requests until `isDone`, each of which wakes a thread. False if that does not help. */
  async #wake(isDone: () => Promise<boolean>): Promise<boolean> {
    const giveUp = new AbortController();
    void this.#allEnded.then(() => giveUp.abort());
    for (let waking = 0; waking < wakingsMax; waking++) {
      if (await isDone()) return true;
      if (giveUp.signal.aborted) return false;
      await askStatistics(this.#mountPoint, giveUp.signal);
    }
    return isDone();
  }
}

interface ThreadEvents {
  hear(report: ObjectWorkerReport): void;
  /** Something was posted to the thread. */
  posted(): void;
}

class Thread implements ObjectThread {
  /** Rejects if the thread broke. */
  readonly ended: Promise<void>;
  /** As `threadState` tells. */
  readonly state = sharedNumbers(threadState.length);
  readonly #updates: MessagePort;
  readonly #events: ThreadEvents;

  constructor(data: Omit<ObjectWorkerData, 'updates' | 'state'>, events: ThreadEvents) {
    const { port1, port2 } = new MessageChannel();
    this.#updates = port1;
    this.#events = events;
    const workerData: ObjectWorkerData = { ...data, updates: port2, state: this.state };
    const transferList = [port2];
    const options = { transferList, resourceLimits };
    const worker = startWorker('object-worker', import.meta.url, workerData, options);
    worker.on('message', (report: ObjectWorkerReport) => events.hear(report));
    this.ended = new Promise((resolve, reject) => {
      worker.once('error', reject);
      worker.once('exit', () => {
        Atomics.store(this.state, threadState.ended, 1);
        port1.close();
        resolve();
      });
    });
  }

  /** True if it has heard everything; a thread that has ended need not. */
  get isUpToDate(): boolean {
    const { posted, heard, ended } = threadState;
    if (Atomics.load(this.state, ended) === 1) return true;
    return Atomics.load(this.state, heard) === Atomics.load(this.state, posted);
  }

  post(update: ObjectWorkerUpdate): void {
    this.#updates.postMessage(update);
    Atomics.add(this.state, threadState.posted, 1);
    this.#events.posted();
  }
}

function sharedNumbers(length: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(length * Int32Array.BYTES_PER_ELEMENT));
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
