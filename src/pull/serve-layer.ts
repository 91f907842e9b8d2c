import { packFiles } from '../cache/packed-files.js';
import { fromSystemError, ThinError } from '../errors.js';
import type { LayerSummary } from '../layer/read-layer.js';
import type { FromWorker, LayerTask, StartLayer, ToWorker } from './layer-messages.js';
import { SentBytes } from './sent-bytes.js';
import { SpaceGrants } from './space-grants.js';
import { findLayer, type StoreEvents, storeLayer } from './store-layer.js';

type Send = (message: FromWorker) => void;

/** A worker's end of one layer: does what was asked, and says how it goes, by messages. */
export function serveLayer({ task, memory, port }: StartLayer): void {
  const send: Send = (message) => port.postMessage(message);
  const source = new SentBytes(memory);
  const grants = new SpaceGrants((bytes, exact) => send({ type: 'reserve', bytes, exact }));
  port.on('message', (message: ToWorker) => {
    if (message.type === 'bytes') source.push(message.part);
    else if (message.type === 'granted') grants.granted(message.bytes);
    else if (message.type === 'refused') {
      grants.refused(new ThinError(message.code, message.message));
    } else source.end(message.type === 'end' ? 'complete' : 'canceled');
  });
  void answer(run(task, source, grants, send), send);
}

function run(
  task: LayerTask,
  source: SentBytes,
  grants: SpaceGrants,
  send: Send,
): Promise<LayerSummary> {
  const stored: StoreEvents['stored'] = (files) =>
    send({ type: 'stored', files: packFiles(files, files.length) });
  if (task.type === 'find') return findLayer(task.record, task.place, stored);
  let plainBytes = 0;
  const inflated = (bytes: number) => {
    plainBytes = bytes;
  };
  const pieces = source.pieces((bytes) => send({ type: 'taken', bytes, plainBytes }));
  return storeLayer(task.job, pieces, grants, { stored, inflated });
}

/** Always the last message. */
async function answer(work: Promise<LayerSummary>, send: Send): Promise<void> {
  try {
    send({ type: 'done', summary: await work });
  } catch (error) {
    const { code, message } = fromSystemError('Cannot store layer', error);
    send({ type: 'failed', code, message });
  }
}
