import { mapBounded } from '../cache/bounded.js';
import type { FileCache } from '../cache/file-cache.js';
import type { FileRef } from '../cache/file-origin.js';
import type { DirectoryNode } from '../image/tree.js';
import type { LayerProgress } from '../layer/read-layer.js';
import { mergeLayers } from '../metadata/merge.js';
import { onceMore } from '../once-more.js';
import { type StoredLayer, storeLayer } from './store-layer.js';

/** Layers that are downloaded at the same time. */
const layersInFlight = 2;

/** A layer as an image's manifest and config describe it. */
export interface PullLayer {
  readonly descriptor: {
    readonly mediaType: string;
    readonly digest: string;
    /** Compressed bytes. */
    readonly size: number;
  };
  readonly diffId: string;
  /** The layer's bytes from the start; whatever resumes a broken download is behind it. */
  open(signal: AbortSignal): AsyncIterable<Buffer>;
}

export interface PullProgress {
  /** Index of the layer, the lowest being 0. */
  readonly layer: number;
  readonly compressedBytes: number;
  readonly plainBytes: number;
}

export interface PullOptions {
  /** Under which the image's files are pinned in the cache. */
  readonly image: string;
  /** Lowest first. */
  readonly layers: readonly PullLayer[];
  readonly cache: FileCache;
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: PullProgress) => void;
}

export interface PulledImage {
  /** The merged tree; the content of its files is in the cache. */
  readonly root: DirectoryNode;
  readonly compressedBytes: number;
  readonly plainBytes: number;
  /** Distinct contents of the tree. */
  readonly files: number;
}

/**
 * Pulls an image that has no thin form: layers stream through memory, each file goes to the cache
 * under its digest, and a layer that turns out to be wrong leaves nothing that is part of an image.
 * When this returns all files of the tree are pinned under `image`, and durable.
 * @throws ThinError `corrupt` if a layer is not what manifest and config promise; `no-space` if the
 *   cache has no room; `canceled`; whatever a layer's source throws
 */
export async function pullImage(options: PullOptions): Promise<PulledImage> {
  const { image, cache } = options;
  using hold = cache.hold();
  const layers = await storeLayers(options, hold);
  const root = mergeLayers(layers);
  const files = contentsOf(root);
  await cache.pinImage(image, files);
  return {
    root,
    files: files.length,
    compressedBytes: layers.reduce((sum, { compressedBytes }) => sum + compressedBytes, 0),
    plainBytes: layers.reduce((sum, { plainBytes }) => sum + plainBytes, 0),
  };
}

/** All layers, a few at a time; the first failure ends the others. */
async function storeLayers(
  { layers, cache, signal, onProgress }: PullOptions,
  hold: ReturnType<FileCache['hold']>,
): Promise<StoredLayer[]> {
  const stop = new AbortController();
  const onAbort = () => stop.abort(signal.reason);
  signal.addEventListener('abort', onAbort);
  if (signal.aborted) onAbort();
  try {
    return await mapBounded(layers, layersInFlight, async (layer, index) => {
      try {
        const { descriptor, diffId } = layer;
        const options = {
          ...descriptor,
          diffId,
          signal: stop.signal,
          onProgress: (progress: LayerProgress) => onProgress?.({ layer: index, ...progress }),
        };
        return await onceMore(() => storeLayer(layer.open(stop.signal), options, cache, hold));
      } catch (error) {
        stop.abort(error);
        throw error;
      }
    });
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** The files of a tree that have bytes, each content once. */
function contentsOf(root: DirectoryNode): FileRef[] {
  const sizes = new Map<FileRef['content'], number>();
  const waiting = [root];
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    for (const node of at.children.values()) {
      if (node.type === 'directory') waiting.push(node);
      else if (node.type === 'file' && node.size > 0) sizes.set(node.content, node.size);
    }
  }
  return [...sizes].map(([content, size]) => ({ content, size }));
}
