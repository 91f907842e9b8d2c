import { parentPort, workerData } from 'node:worker_threads';
import { mergeImage } from './merge-image.js';

/** Merges one image and ends: the memory of the tree goes with the thread. */
const reply = await mergeImage(workerData);
const moved = typeof reply === 'object' && 'files' in reply ? [reply.files.buffer] : [];
parentPort?.postMessage(
  reply,
  moved.filter((memory) => memory instanceof ArrayBuffer),
);
