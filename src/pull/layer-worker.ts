import { parentPort } from 'node:worker_threads';
import type { StartLayer } from './layer-messages.js';
import { serveLayer } from './serve-layer.js';

/** The thread that stores layers. LayerThread starts it, sends the bytes and does the books. */
parentPort?.on('message', (start: StartLayer) => serveLayer(start));
