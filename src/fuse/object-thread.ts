import { MessageChannel, type MessagePort } from 'node:worker_threads';
import type { PartialView } from '../cache/partial-view.js';
import { startWorker } from '../worker-module.js';
import {
  type ObjectWorkerData,
  type ObjectWorkerReport,
  type ObjectWorkerUpdate,
  threadState,
} from './object-worker-messages.js';
import { partialViewsMax } from './partial-reads.js';

/**
 * Heap of a thread, MB: it keeps next to nothing, and garbage is collected before it takes space. All
 * in all a thread takes 9 MB, of which an empty one would take 7.
 */
const resourceLimits = { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 24, stackSizeMb: 1 };

export interface ObjectThreadEvents {
  hear(report: ObjectWorkerReport): void;
  /** Something was posted, which the thread hears before it answers its next request. */
  posted(): void;
}

/** A thread that serves, as the main thread sees it. */
export class ObjectThread {
  /** Rejects if the thread broke. */
  readonly ended: Promise<void>;
  /** As `threadState` tells. */
  readonly state: Int32Array;
  readonly #updates: MessagePort;
  readonly #events: ObjectThreadEvents;
  /** Partial files it was told of, in that order: it forgets in the same order. By node. */
  readonly #told = new Map<number, PartialView>();

  constructor(data: Omit<ObjectWorkerData, 'updates' | 'state'>, events: ObjectThreadEvents) {
    const { port1, port2 } = new MessageChannel();
    const numbers = threadState.length * Int32Array.BYTES_PER_ELEMENT;
    this.state = new Int32Array(new SharedArrayBuffer(numbers));
    this.#updates = port1;
    this.#events = events;
    const workerData: ObjectWorkerData = { ...data, updates: port2, state: this.state };
    const options = { transferList: [port2], resourceLimits };
    const worker = startWorker('../fuse/object-worker', import.meta.url, workerData, options);
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

  get hasEnded(): boolean {
    return Atomics.load(this.state, threadState.ended) === 1;
  }

  /** True if it has heard everything; a thread that has ended need not. */
  get isUpToDate(): boolean {
    const { posted, heard } = threadState;
    return this.hasEnded || Atomics.load(this.state, heard) === Atomics.load(this.state, posted);
  }

  post(update: ObjectWorkerUpdate): void {
    this.#updates.postMessage(update);
    Atomics.add(this.state, threadState.posted, 1);
    this.#events.posted();
  }

  /** Has the thread end with its next request. */
  tellToEnd(): void {
    Atomics.store(this.state, threadState.stop, 1);
  }

  /** From now on it reads from the partial file by itself what is there. */
  tellPartial(node: number, view: PartialView): void {
    if (this.#told.get(node) === view) return;
    this.#told.delete(node);
    this.#told.set(node, view);
    const [oldest] = this.#told.keys();
    if (this.#told.size > partialViewsMax && oldest !== undefined) this.#told.delete(oldest);
    this.post({ type: 'partial', node, view });
  }

  /** Has it close the file. */
  endPartial(view: PartialView): void {
    for (const [node, told] of this.#told) {
      if (told !== view) continue;
      this.#told.delete(node);
      this.post({ type: 'partial-ended', node });
    }
  }
}
