import { parentPort, workerData } from 'node:worker_threads';
import { ImageMerge } from './merge-image.js';
import type { ToMerge } from './merge-records.js';

/** Merges one image and ends: the memory of the tree goes with the thread. */
const merge = new ImageMerge(workerData);

parentPort?.on('message', async (message: ToMerge) => {
  if (message.type === 'layer') {
    merge.add(message.layer);
    return;
  }
  const reply = await merge.finish();
  const moved = 'files' in reply ? [reply.files.digests.buffer, reply.files.sizes.buffer] : [];
  parentPort?.postMessage(
    reply,
    moved.filter((memory) => memory instanceof ArrayBuffer),
  );
});
