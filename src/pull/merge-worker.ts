import { parentPort, workerData } from 'node:worker_threads';
import { mergeImage } from './merge-image.js';

/** Merges one image and ends: the memory of the tree goes with the thread. */
parentPort?.postMessage(await mergeImage(workerData));
