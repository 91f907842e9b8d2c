import { FileStore } from '../../native-bindings/file-store.js';
import { filesOf, LayerRecordFile } from '../cache/layer-record.js';
import { LayerRecordWriter } from '../cache/layer-record-writer.js';
import type { PackedFile } from '../cache/packed-files.js';
import { ThinError } from '../errors.js';
import { type LayerSummary, readLayer } from '../layer/read-layer.js';
import { LayerFiles, type Room } from './layer-files.js';
import type { FilePlace, LayerJob } from './layer-messages.js';
import { PiecePool } from './piece-pool.js';

/** Files told of at once. */
const toldFilesMax = 4096;

/** What storing a layer tells as it goes on. */
export interface StoreEvents {
  /** These files are in the tier. */
  stored(files: readonly PackedFile[]): void;
  /** So many plain bytes have been seen. */
  inflated(plainBytes: number): void;
}

/**
 * A layer's way from compressed bytes to files and a record: verify the compressed bytes | inflate |
 * verify the plain ones | untar | hash and write. Inflating, hashing and writing are done by the
 * addon's threads, the rest by this one, all at the same time; memory does not grow with the layer.
 * @param source a piece of it is used up when the next one is asked for
 * @throws ThinError as readLayer does; `no-space`, `unavailable`. Files that were stored until then are
 *   told of, and part of nothing.
 */
export async function storeLayer(
  job: LayerJob,
  source: AsyncIterable<Buffer>,
  room: Room,
  { stored, inflated }: StoreEvents,
): Promise<LayerSummary> {
  using record = new LayerRecordWriter(job.recordDraft);
  const memory = new PiecePool();
  const add = record.add.bind(record);
  const files = new LayerFiles(new FileStore(job.place), job.storesInFlight, {
    memory,
    room,
    record: add,
    stored,
  });
  const { mediaType, digest, size, diffId } = job;
  const { signal } = new AbortController(); // its source ends it
  const onProgress = ({ plainBytes }: { plainBytes: number }) => inflated(plainBytes);
  const promised = { mediaType, digest, size, diffId };
  const events = readLayer(source, { ...promised, signal, memory, onProgress });
  try {
    let result = await events.next();
    for (; result.done !== true; result = await events.next()) await files.take(result.value);
    await files.finish();
    record.finish(job.record, result.value);
    return result.value;
  } catch (error) {
    await events.throw(error).catch(() => undefined); // ends its stages
    await files.settled();
    throw error;
  }
}

/**
 * Reads the record of a layer that was stored before, and looks for its files.
 * @param onFound told all of them
 * @throws ThinError `not-found` if the record or a file is not here, `corrupt` if it is damaged
 */
export async function findLayer(
  path: string,
  place: FilePlace,
  onFound: StoreEvents['stored'],
): Promise<LayerSummary> {
  const record = LayerRecordFile.open(path);
  const sizes = new Map([...filesOf(record)].map(({ content, size }) => [content, size]));
  const missing = await new FileStore(place).missing([...sizes.keys()]);
  if (missing.length > 0) {
    throw new ThinError('not-found', `Cannot use layer record: ${missing.length} files are gone`);
  }
  const files = [...sizes].map(([content, size]) => ({ content, size, allocated: undefined }));
  for (let at = 0; at < files.length; at += toldFilesMax) {
    onFound(files.slice(at, at + toldFilesMax));
  }
  return record.summary;
}
