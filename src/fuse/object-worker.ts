/**
 * A worker thread of the object server: blocks in reads of /dev/fuse and answers what needs no
 * network. Ends when the connection has ended or it is told to stop. It is to stay small: nothing
 * is imported that brings a library along.
 */
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { FirstUses } from './first-uses.js';
import { LocalFiles } from './local-files.js';
import type { FileContent } from './namespace.js';
import { ObjectNamespace } from './object-namespace.js';
import {
  type ObjectWorkerData,
  type ObjectWorkerReport,
  type ObjectWorkerUpdate,
  threadState,
} from './object-worker-messages.js';
import { PartialReads } from './partial-reads.js';
import { serveDevice } from './serve.js';

const { device, tiers, images, updates, state }: ObjectWorkerData = workerData;
const namespace = new ObjectNamespace();
for (const list of images) namespace.add(list);
const uses = new FirstUses(
  (contents) => report({ type: 'used', contents }),
  () => performance.now(),
);
const files = new LocalFiles(tiers, (content) => uses.add(content));
const partials = new PartialReads();
/** Milliseconds between reports that something is being read. */
const readingMs = 1_000;
let readingAt = Number.NEGATIVE_INFINITY;
let isConnected = false;
let heard = 0;

try {
  serveDevice(device, namespace, {
    readLocal,
    forwardRead: (read) => report({ type: 'read', read }),
    interrupt: (unique) => report({ type: 'interrupt', unique }),
    initialized: (accepted) => report({ type: 'initialized', accepted }),
    received,
    stopped: () => Atomics.load(state, threadState.stop) !== 0,
  });
} finally {
  Atomics.store(state, threadState.ended, 1);
  Atomics.notify(state, threadState.ended);
  files.close();
  partials.close();
  uses.flush();
}

/** A file that is being filled is in no tier, and looking for it there is not cheap. */
function readLocal(file: FileContent, offset: number, target: Buffer, node: number): boolean {
  const now = performance.now();
  if (now - readingAt >= readingMs) {
    readingAt = now;
    report({ type: 'reading' });
  }
  return partials.read(node, file.size, offset, target) || files.read(file, offset, target);
}

function received(): void {
  if (!isConnected) report({ type: 'connected' });
  isConnected = true;
  if (Atomics.load(state, threadState.posted) !== heard) hearUpdates();
}

function hearUpdates(): void {
  for (let next = receiveMessageOnPort(updates); next; next = receiveMessageOnPort(updates)) {
    hear(next.message);
    heard = (heard + 1) | 0;
  }
  Atomics.store(state, threadState.heard, heard);
}

function hear(update: ObjectWorkerUpdate): void {
  if (update.type === 'image') namespace.add(update.list);
  else if (update.type === 'image-ended') namespace.remove(update.name);
  else if (update.type === 'partial') partials.add(update.node, update.view);
  else if (update.type === 'partial-ended') partials.remove(update.node);
  else files.close();
}

function report(message: ObjectWorkerReport): void {
  parentPort?.postMessage(message);
}
