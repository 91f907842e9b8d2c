import type { Worker } from 'node:worker_threads';
import { type ErrorCode, ThinError } from '../errors.js';
import { startWorker } from '../worker-module.js';
import type { IndexCalls, IndexMethod } from './index-calls.js';
import type { CacheLayout } from './layout.js';

/** The index as the cache uses it, wherever its calls run. */
export interface CacheIndex {
  call<M extends IndexMethod>(
    method: M,
    ...args: Parameters<IndexCalls[M]>
  ): Promise<ReturnType<IndexCalls[M]>>;
  /** Ends it; `call` fails from here on. The index is not marked clean by this. */
  stop(): Promise<void>;
}

export interface IndexRequest {
  readonly id: number;
  readonly method: IndexMethod;
  readonly args: readonly unknown[];
}

export type IndexReply =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly code: ErrorCode; readonly message: string };

interface Waiting {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout | undefined;
}

/** Longest that a call takes, the first one aside, which may look through the whole cache. */
const callMsMax = 30_000;

/** The index in a worker thread. Calls are answered in order. */
export class IndexThread implements CacheIndex {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;
  #ended: Error | undefined;

  static async open(layout: CacheLayout): Promise<IndexThread> {
    const thread = new IndexThread(layout);
    try {
      await thread.call('start');
    } catch (error) {
      await thread.stop();
      throw error;
    }
    return thread;
  }

  private constructor(layout: CacheLayout) {
    this.#worker = startWorker('../cache/index-worker', import.meta.url, layout);
    this.#worker.on('message', (reply: IndexReply) => this.#answer(reply));
    this.#worker.on('error', (error) => this.#end(error));
    this.#worker.on('exit', (code) => this.#end(new Error(`its thread ended with code ${code}`)));
  }

  call<M extends IndexMethod>(
    method: M,
    ...args: Parameters<IndexCalls[M]>
  ): Promise<ReturnType<IndexCalls[M]>> {
    return new Promise((resolve, reject) => {
      if (this.#ended !== undefined) return reject(unavailable(this.#ended));
      const id = this.#nextId++;
      // The worker runs the method of that name: what it answers has that method's type.
      const settle = resolve as (result: unknown) => void;
      const timer =
        method === 'start' ? undefined : setTimeout(() => this.#giveUp(id, method), callMsMax);
      this.#waiting.set(id, { resolve: settle, reject, timer });
      this.#worker.postMessage({ id, method, args } satisfies IndexRequest);
    });
  }

  async stop(): Promise<void> {
    this.#end(new Error('it was closed'));
    await this.#worker.terminate();
  }

  #answer(reply: IndexReply): void {
    const waiting = this.#waiting.get(reply.id);
    this.#waiting.delete(reply.id);
    clearTimeout(waiting?.timer);
    if ('code' in reply) waiting?.reject(new ThinError(reply.code, reply.message));
    else waiting?.resolve(reply.result);
  }

  /** The disk under the index hangs. */
  #giveUp(id: number, method: string): void {
    const error = new Error(`no answer to ${method} in ${callMsMax} ms`);
    this.#waiting.get(id)?.reject(unavailable(error));
    this.#waiting.delete(id);
  }

  #end(error: Error): void {
    this.#ended ??= error;
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(unavailable(error));
    }
    this.#waiting.clear();
  }
}

function unavailable(cause: Error): ThinError {
  return new ThinError('unavailable', `Cannot use cache index: ${cause.message}`, { cause });
}
