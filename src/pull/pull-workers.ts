import type { MessagePort, Worker } from 'node:worker_threads';
import { startWorker } from '../worker-module.js';
import type { StartLayer } from './layer-messages.js';
import type { MergeReply, MergeRequest, ToMerge } from './merge-records.js';

/** A thread that stores layers, as LayerThread uses it. */
export interface LayerWorker {
  postMessage(start: StartLayer, transferred: readonly MessagePort[]): void;
  /** Told once, why it has ended. */
  onEnd(told: (error: Error) => void): void;
  terminate(): Promise<unknown>;
}

/** Where the work of a pull is done. */
export interface PullWorkers {
  startLayers(): LayerWorker;
  startMerge(request: MergeRequest): MergeWorker;
}

/** A thread that merges one image, as RecordsMerge uses it. */
export interface MergeWorker {
  post(message: ToMerge): void;
  /** Comes after `finish`. @throws why the thread has ended without it */
  readonly reply: Promise<MergeReply>;
  terminate(): Promise<unknown>;
}

/**
 * Of a thread's young objects, in MiB. V8 looks for garbage when the buffers among it are larger than
 * two thirds of this: with its own bounds some tens of MiB gather.
 */
const youngGenerationMb = 3;
/**
 * Of its other objects: storing a layer needs few MiB, but V8 would let garbage gather. Not much less:
 * a thread whose collector is late ends when it is at its limit.
 */
const oldGenerationMb = 48;

/** Threads of their own. */
export const pullThreads: PullWorkers = {
  startLayers: () => {
    const worker = startWorker('../pull/layer-worker', import.meta.url, undefined, {
      resourceLimits: {
        maxYoungGenerationSizeMb: youngGenerationMb,
        maxOldGenerationSizeMb: oldGenerationMb,
      },
    });
    return {
      postMessage: (start, transferred) => worker.postMessage(start, transferred),
      onEnd: (told) => onEnd(worker, told),
      terminate: () => worker.terminate(),
    };
  },
  startMerge: (request) => {
    const worker = startWorker('../pull/merge-worker', import.meta.url, request);
    const reply = new Promise<MergeReply>((resolve, reject) => {
      worker.once('message', resolve);
      onEnd(worker, reject);
    });
    reply.catch(() => undefined); // is thrown where it is awaited, if it is
    return {
      post: (message) => worker.postMessage(message),
      reply,
      terminate: () => worker.terminate(),
    };
  },
};

function onEnd(worker: Worker, told: (error: Error) => void): void {
  worker.on('error', told);
  worker.on('exit', (code) => told(new Error(`its thread ended with code ${code}`)));
}
