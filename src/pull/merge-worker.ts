import { parentPort, workerData } from 'node:worker_threads';
import { mergeImage } from './merge-image.js';

/** Merges one image and ends: the memory of the tree goes with the thread. */
const reply = await mergeImage(workerData);
const moved = typeof reply === 'object' && 'metadata' in reply ? [reply.metadata, reply.files] : [];
parentPort?.postMessage(
  reply,
  moved.flatMap(({ buffer }) => (buffer instanceof ArrayBuffer ? [buffer] : [])),
);
