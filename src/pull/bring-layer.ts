import type { FileCache } from '../cache/file-cache.js';
import type { FileHold } from '../cache/file-use.js';
import { checkRecord, type LayerRecords } from '../cache/layer-records.js';
import { localTier } from '../cache/layout.js';
import { isThinError } from '../errors.js';
import type { LayerSummary } from '../layer/read-layer.js';
import type { FileArrivals } from './file-arrivals.js';
import type { Gate } from './gate.js';
import { downloadWhole, layerBytes, type PullLayer, type SourceOptions } from './layer-source.js';
import type { LayerEvents } from './layer-thread.js';
import type { LayerThreads } from './layer-threads.js';
import { PartialBlob } from './partial-blob.js';
import type { LayerMeter } from './pull-meter.js';
import type { TierPromises } from './tier-choice.js';

/** What all pulls of a node share. */
export interface PullParts {
  readonly cache: FileCache;
  readonly records: LayerRecords;
  readonly partialFolder: string;
  readonly threads: LayerThreads;
  readonly promises: TierPromises;
  readonly arrivals: FileArrivals;
}

/** Of layers that come in an order: what is looked up of each takes its own time. */
export interface PlaceInLine {
  /** Ends when all before it are in the line, or have no need to be. */
  readonly before: Promise<unknown>;
  /** Those behind it may get into the line. */
  readonly taken: () => void;
}

/** How one layer is to come, as its pull's mode has it. */
export interface LayerWay {
  readonly wholeFirst: boolean;
  readonly storesInFlight: number;
  /** Records looked through at once. */
  readonly checks: Gate;
  readonly downloads: Gate;
  /** Its place in the line for {@link downloads}. */
  readonly place: PlaceInLine;
  /** Ends when this layer may be stored, where layers are stored one after the other. */
  readonly turn: Promise<unknown>;
  /** Connections that the layer may use now. */
  readonly connections: (meter: LayerMeter) => number;
  /** Where it is stored, decided as it begins; disposed when it is stored. */
  readonly chooseTier: () => Disposable & { readonly tier: string };
}

/** A layer that is here, with its files held until it is disposed. */
export interface BroughtLayer extends Disposable {
  readonly summary: LayerSummary;
  /** Path of its record, and whose it is. */
  readonly record: string;
  readonly diffId: string;
}

interface Task {
  readonly layer: PullLayer;
  readonly meter: LayerMeter;
  readonly parts: PullParts;
  readonly way: LayerWay;
  readonly signal: AbortSignal;
}

/** A layer that has no room in a faster tier after all goes to the local one. */
const toLocal: LayerWay['chooseTier'] = () => ({ tier: localTier, [Symbol.dispose]: () => {} });

/**
 * Brings one layer here: by its record, if all of its files are here from before, or else over the
 * network, from where an earlier pull stopped.
 * @throws ThinError `corrupt` if it is not what the image promises; `no-space`; `canceled`; what the
 *   layer's source throws. Nothing that belongs to an image is left then.
 */
export async function bringLayer(task: Task): Promise<BroughtLayer> {
  const { layer, meter, parts } = task;
  try {
    const here = await findHere(task);
    const { summary, hold } = here ?? (await fetchLayer(task));
    meter.phase = here === undefined ? 'done' : 'here';
    const { diffId } = layer;
    const record = parts.records.path(diffId);
    return { summary, record, diffId, [Symbol.dispose]: () => hold[Symbol.dispose]() };
  } catch (error) {
    meter.phase = 'failed';
    throw error;
  } finally {
    meter.waits.enter(undefined);
    task.way.place.taken();
  }
}

/** A layer that is here, and what keeps its files. */
interface Held {
  readonly summary: LayerSummary;
  readonly hold: FileHold;
}

/** Undefined if there is no record, or not all is here that it names. */
async function findHere(task: Task): Promise<Held | undefined> {
  const { layer, parts, way, signal } = task;
  const { cache, records, threads } = parts;
  if (!(await records.has(layer.diffId))) return undefined;
  way.place.taken(); // it is likely to be here, and looked through for long
  using _place = await way.checks.enter(signal);
  const hold = cache.hold();
  try {
    using writer = cache.bulkWriter(hold);
    const record = records.path(layer.diffId);
    const summary = await threads.pick().find(record, writer, eventsOf(task));
    checkRecord(summary, layer.diffId);
    return { summary, hold };
  } catch (error) {
    hold[Symbol.dispose]();
    if (!isThinError(error, 'not-found', 'corrupt')) throw error;
    if (error.code === 'corrupt') await records.remove(layer.diffId);
    return undefined;
  }
}

/** A layer that turns out to be wrong is fetched once more, from its beginning. */
async function fetchLayer(first: Task): Promise<Held> {
  const { layer, meter, parts, way } = first;
  let task = first;
  for (let isLast = false; ; ) {
    const key = `${layer.descriptor.digest} ${layer.diffId}`;
    await using partial = await PartialBlob.open(parts.partialFolder, key);
    meter.begin(partial.length);
    try {
      const held = await (way.wholeFirst ? fetchThenStore : fetchAndStore)(task, partial);
      // The layer is here whatever becomes of it; nobody looks for it while the layer's record is there.
      await partial.remove().catch(() => undefined);
      return held;
    } catch (error) {
      if (!isThinError(error, 'corrupt', 'no-space')) throw error;
      if (error.code === 'no-space' && (meter.tier ?? localTier) !== localTier) {
        task = { ...first, way: { ...way, chooseTier: toLocal } }; // with what has come of it
        continue;
      }
      await partial.remove();
      if (error.code === 'no-space' || isLast) throw error;
      isLast = true;
    }
  }
}

async function enterInOrder({ downloads, place }: LayerWay, signal: AbortSignal) {
  await place.before;
  const entered = downloads.enter(signal);
  place.taken();
  return await entered;
}

/** Inflates and stores the layer while it downloads. */
async function fetchAndStore(task: Task, partial: PartialBlob): Promise<Held> {
  const { meter, way, signal } = task;
  using _place = await enterInOrder(way, signal);
  meter.phase = 'downloading';
  return await store(task, layerBytes(sourceOf(task, partial)));
}

/** Inflates and stores the layer when all of it is here, and its turn has come. */
async function fetchThenStore(task: Task, partial: PartialBlob): Promise<Held> {
  const { meter, way, signal } = task;
  {
    using _place = await enterInOrder(way, signal);
    meter.phase = 'downloading';
    meter.waits.enter('source');
    await downloadWhole(sourceOf(task, partial));
    meter.waits.enter(undefined);
  }
  await way.turn;
  signal.throwIfAborted();
  meter.phase = 'storing';
  return await store(task, partial.read());
}

function sourceOf({ layer, meter, way, signal }: Task, partial: PartialBlob): SourceOptions {
  return {
    layer,
    partial,
    connections: () => way.connections(meter),
    onDownloaded: (bytes) => {
      meter.downloaded += bytes;
    },
    signal,
  };
}

/** Nothing stays of a layer that is wrong, or for which there is no room. */
async function store(task: Task, bytes: AsyncIterable<Buffer>): Promise<Held> {
  const { layer, meter, parts, way } = task;
  const { cache, records, threads } = parts;
  using choice = way.chooseTier();
  meter.tier = choice.tier;
  meter.writtenBytes = 0;
  const hold = cache.hold();
  using writer = cache.bulkWriter(hold, choice.tier);
  const job = {
    ...layer.descriptor,
    diffId: layer.diffId,
    storesInFlight: way.storesInFlight,
    place: writer.place,
    recordDraft: records.draftPath(),
    record: records.path(layer.diffId),
  };
  try {
    const summary = await threads.pick().store(bytes, job, writer, eventsOf(task));
    return { summary, hold };
  } catch (error) {
    hold[Symbol.dispose]();
    if (isThinError(error, 'corrupt', 'no-space')) await writer.discard();
    throw error;
  }
}

function eventsOf({ meter, parts: { arrivals } }: Task): LayerEvents {
  return {
    waits: meter.waits,
    taken: (compressedBytes, plainBytes) => {
      meter.stored = compressedBytes;
      meter.plainBytes = plainBytes;
    },
    written: (bytes) => {
      meter.writtenBytes += bytes;
    },
    stored: (files) => arrivals.stored(files),
  };
}
