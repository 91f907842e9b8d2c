/**
 * A worker thread of a raw tree server: blocks in reads of /dev/fuse and answers what needs no
 * network. Ends when the mount is gone or it is told to stop.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { ErofsImage } from '../metadata/erofs-image.js';
import { FirstUses } from './first-uses.js';
import { LocalFiles } from './local-files.js';
import { serveDevice } from './serve.js';
import { TreeNamespace } from './tree-namespace.js';
import { type TreeWorkerData, type TreeWorkerReport, treeState } from './tree-worker-messages.js';

const { device, metadata, form, tiers, state }: TreeWorkerData = workerData;
const image = ErofsImage.parse(Buffer.from(metadata));
const uses = new FirstUses(
  (contents) => report({ type: 'used', contents }),
  () => performance.now(),
);
const files = new LocalFiles(tiers, (content) => uses.add(content));
let closes = 0;

try {
  serveDevice(device, new TreeNamespace(image, form), {
    readLocal: (file, offset, target) => files.read(file, offset, target),
    forwardRead: (read) => report({ type: 'read', read }),
    interrupt: (unique) => report({ type: 'interrupt', unique }),
    initialized: (accepted) => report({ type: 'initialized', accepted }),
    received,
    stopped: () => Atomics.load(state, treeState.stop) !== 0,
  });
} finally {
  files.close();
  uses.flush();
}

function received(): void {
  const told = Atomics.load(state, treeState.closes);
  if (told !== closes) files.close();
  closes = told;
}

function report(message: TreeWorkerReport): void {
  parentPort?.postMessage(message);
}
