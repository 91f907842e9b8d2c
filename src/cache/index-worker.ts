import { parentPort, workerData } from 'node:worker_threads';
import { fromSystemError } from '../errors.js';
import { openIndexCalls } from './index-calls.js';
import { translated } from './index-schema.js';
import type { IndexReply, IndexRequest } from './index-thread.js';
import type { CacheLayout } from './layout.js';

/** The thread that owns index.db: runs one call after the other. Started by IndexThread. */
const port = parentPort;
const layout: CacheLayout = workerData;
let calls: ReturnType<typeof openIndexCalls> | undefined;

function answer({ id, method, args }: IndexRequest): IndexReply {
  try {
    calls ??= openIndexCalls(layout);
    const call: (...args: never[]) => unknown = calls[method];
    const result = translated(() => Reflect.apply(call, undefined, args));
    return { id, result };
  } catch (error) {
    const { code, message } = fromSystemError('Cannot use cache index', error);
    return { id, code, message };
  }
}

port?.on('message', (request: IndexRequest) => port.postMessage(answer(request)));
