/*
 * src/pull: images that nobody has converted, brought here whole. It knows layers, the cache's tiers
 * and threads; where a layer's bytes come from is told by whoever pulls. One layer is followed in
 * bring-layer.ts, on its thread in layer-worker.ts; what modes there are is told in pull-mode.ts.
 */
import { rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { trimMemory } from '../../native-bindings/trim-memory.js';
import type { FileCache } from '../cache/file-cache.js';
import { LayerRecords, layerRecordsFolder } from '../cache/layer-records.js';
import type { Digest } from '../digest.js';
import { isThinError, ThinError } from '../errors.js';
import type { BroughtLayer, PullParts } from './bring-layer.js';
import { FileArrivals } from './file-arrivals.js';
import { type Brought, LayerFlights } from './layer-flights.js';
import type { PullLayer } from './layer-source.js';
import { LayerThreads } from './layer-threads.js';
import { type MergedImage, RecordsMerge } from './merge-records.js';
import { preparePartialBlobs } from './partial-blob.js';
import type { LayerMeter } from './pull-meter.js';
import type { PullMode } from './pull-mode.js';
import { type PullProgress, PullRun } from './pull-run.js';
import { type PullWorkers, pullThreads } from './pull-workers.js';
import { TierPromises } from './tier-choice.js';

/** Milliseconds of a pull that leave some MiB to be given back before its merge begins. */
const garbageMs = 1000;

export interface PullOptions {
  /** Under which the image's files are pinned in the cache. */
  readonly image: string;
  /** Lowest first. */
  readonly layers: readonly PullLayer[];
  /** Default: `auto`. */
  readonly mode?: PullMode;
  /** As RunOptions has it, whatever the mode says. Default: false */
  readonly asItComes?: boolean;
  readonly signal: AbortSignal;
  /** Called some times a second, and at the end. */
  readonly onProgress?: (progress: PullProgress) => void;
}

/** An image whose layers were stored here once, whatever has become of their files. */
export interface KnownImage extends AsyncDisposable {
  /**
   * A file with the merged tree as EROFS, not synced, which goes when the image is disposed unless it was
   * renamed.
   */
  readonly metadata: { readonly path: string; readonly digest: Digest };
  /** Of all layers, those that were here included. */
  readonly plainBytes: number;
  /** Distinct contents of the tree, and those of them that were in no tier when it was made. */
  readonly files: number;
  readonly missing: number;
}

/** An image that is here, its files held until it is disposed. */
export interface PulledImage extends KnownImage {
  readonly compressedBytes: number;
  /**
   * Makes the files durable and keeps them for good, also over a power cut after that. It takes as long
   * as the disk takes to write them, while the image can be used already.
   * @param metadata where the metadata is now
   */
  pin(metadata: string): Promise<void>;
}

export interface PullerOptions {
  readonly workers?: PullWorkers;
  readonly arrivals?: FileArrivals;
}

/** Pulls images into one cache. What several of them have in common comes once. */
export class ImagePuller {
  readonly #parts: PullParts;
  readonly #workers: PullWorkers;
  readonly #flights = new LayerFlights<BroughtLayer, LayerMeter>();

  private constructor(parts: PullParts, workers: PullWorkers) {
    this.#parts = parts;
    this.#workers = workers;
  }

  /**
   * @param root of the node: `layers/` and `partial-layers/` below it are the puller's own.
   * @param options `workers`: threads of their own if not given. `arrivals`: told of every file
   */
  static async open(
    cache: FileCache,
    root: string,
    { workers = pullThreads, arrivals = new FileArrivals() }: PullerOptions = {},
  ): Promise<ImagePuller> {
    const partialFolder = join(root, 'partial-layers');
    await preparePartialBlobs(partialFolder, Date.now());
    const records = await LayerRecords.open(layerRecordsFolder(root));
    const promises = new TierPromises();
    const threads = new LayerThreads(() => workers.startLayers(), availableParallelism());
    return new ImagePuller({ cache, records, partialFolder, threads, promises, arrivals }, workers);
  }

  /**
   * Starts the thread of a pull that is about to begin, while it is found out what there is to pull. To be
   * disposed when the pull has begun, or will not.
   */
  prepare(): AsyncDisposable {
    this.#parts.threads.pick(); // which fails where there is no thread to be had
    return this.#parts.threads.use();
  }

  /**
   * The tree of an image whose layers all have their records here: each was written when the bytes of its
   * layer had turned out to be those that the image promises. The files may be gone since; each is in
   * the cache, under its digest, or is not.
   * @returns undefined if a layer is not known, or its record is damaged
   * @throws ThinError `canceled`; `no-space`
   */
  async known(
    layers: readonly Pick<PullLayer, 'diffId'>[],
    signal: AbortSignal,
  ): Promise<KnownImage | undefined> {
    const { records } = this.#parts;
    for (const { diffId } of layers) if (!(await records.has(diffId))) return undefined;
    const path = records.draftPath();
    const merge = this.#merge(layers.length, path);
    const release = async () => {
      await merge[Symbol.asyncDispose](); // before what it writes is removed
      await rm(path, { force: true });
    };
    try {
      for (const [index, { diffId }] of layers.entries()) {
        merge.brought(index, { record: records.path(diffId), diffId });
      }
      return { ...imageOf(path, await merge.finish(signal)), [Symbol.asyncDispose]: release };
    } catch (error) {
      await release();
      // The pull finds out, and fetches such a layer again.
      if (isThinError(error, 'corrupt', 'not-found')) return undefined;
      throw error;
    }
  }

  #merge(layers: number, metadata: string): RecordsMerge {
    const place = this.#parts.cache.bulkPlace();
    return new RecordsMerge({ layers, place, metadata }, this.#workers);
  }

  /**
   * Pulls an image that has no thin form: layers stream through worker threads, each file goes to the
   * cache under its digest, and a layer that turns out to be wrong leaves nothing that is part of an
   * image. When this returns, all is here that the image needs; see `PulledImage.pin`.
   * @throws ThinError `corrupt` if a layer is not what manifest and config promise; `no-space` if the
   *   cache has no room; `canceled`; whatever a layer's source throws
   */
  async pull(options: PullOptions): Promise<PulledImage> {
    // A file that a record counts on may be evicted in the moment before it is held.
    const start = performance.now();
    const deferral = this.#parts.cache.deferRecords();
    try {
      const pulled =
        (await this.#pullOnce(options, start)) ?? (await this.#pullOnce(options, start));
      if (pulled === undefined) {
        throw new ThinError('unavailable', 'Cannot pull image: its files are removed as they come');
      }
      const release = async () => {
        deferral[Symbol.dispose](); // until then nobody but a pin needs them recorded, which asks for it
        await pulled[Symbol.asyncDispose]();
      };
      return { ...pulled, [Symbol.asyncDispose]: release };
    } catch (error) {
      deferral[Symbol.dispose]();
      throw error;
    }
  }

  async #pullOnce(options: PullOptions, start: number): Promise<PulledImage | undefined> {
    const {
      layers,
      mode = 'auto',
      asItComes = false,
      signal,
      onProgress = () => undefined,
    } = options;
    const path = this.#parts.records.draftPath();
    const merge = this.#merge(layers.length, path);
    const run = new PullRun(this.#parts, this.#flights, {
      layers,
      mode,
      asItComes,
      signal,
      onProgress,
      onLayer: (index, { record, diffId }) => merge.brought(index, { record, diffId }),
      onNearEnd: () => {
        if (!merge.begun && performance.now() - start > garbageMs) giveBackMemory();
        merge.begin();
      },
      start,
    });
    const { brought, ended } = await this.#bring(run, merge);
    const release = async () => {
      await merge[Symbol.asyncDispose](); // before what it writes is removed
      const layers = await Promise.allSettled(brought.map((layer) => layer[Symbol.asyncDispose]()));
      await rm(path, { force: true });
      for (const layer of layers) if (layer.status === 'rejected') throw layer.reason;
    };
    try {
      const merging = merge.finish(signal);
      giveBackMemory(); // while it goes on
      const [merged] = await Promise.all([merging, ended]);
      if (merged.missing > 0) {
        await release();
        return undefined;
      }
      run.look();
      const pin = (metadata: string) =>
        this.#parts.cache.pinImage(options.image, merged.files(), metadata);
      const compressedBytes = compressedBytesOf(brought);
      return { ...imageOf(path, merged), compressedBytes, pin, [Symbol.asyncDispose]: release };
    } catch (error) {
      await Promise.allSettled([ended, release()]);
      throw error;
    }
  }

  /** The layers, and their threads' end, which need not be waited for: who pulls waits for the merge. */
  async #bring(
    run: PullRun,
    merge: RecordsMerge,
  ): Promise<{ brought: Brought<BroughtLayer>[]; ended: PromiseLike<void> }> {
    const threads = this.#parts.threads.use();
    try {
      const brought = await run.bring();
      return { brought, ended: threads[Symbol.asyncDispose]() };
    } catch (error) {
      await Promise.all([threads[Symbol.asyncDispose](), merge[Symbol.asyncDispose]()]);
      giveBackMemory();
      throw error;
    }
  }
}

/** What the layers have left is in the way of the merge. */
function giveBackMemory(): void {
  globalThis.gc?.(); // where Node was started with --expose-gc, as the daemon's server is
  trimMemory();
}

function imageOf(path: string, { digest, fileCount: files, missing, plainBytes }: MergedImage) {
  return { metadata: { path, digest }, files, missing, plainBytes };
}

function compressedBytesOf(brought: readonly Brought<BroughtLayer>[]): number {
  return brought.reduce((total, { value }) => total + value.summary.compressedBytes, 0);
}
