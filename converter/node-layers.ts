import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { errnoName } from '../src/cache/disk.js';
import { LayerRecordFile } from '../src/cache/layer-record.js';
import { checkRecord, layerRecordPath, layerRecordsFolder } from '../src/cache/layer-records.js';
import { localTier, tierDirectory, tierPath } from '../src/cache/layout.js';
import type { Digest } from '../src/digest.js';
import { fromSystemError, isThinError, ThinError } from '../src/errors.js';
import type { LayerProgress, LayerSummary } from '../src/layer/read-layer.js';
import type { TarEvent } from '../src/layer/tar-event.js';
import type { SourceImage, SourceLayer } from './source-image.js';

/** Where a node keeps what it has pulled. */
export interface NodePlace {
  /** As `thin --root`. */
  readonly root: string;
  /** Directories of its tiers beside the one in the root, in the order in which files are looked for. */
  readonly tiers: readonly string[];
}

/** Bytes read at a time. */
const pieceBytes = 256 * 1024;
/** Entries without bytes that are handed on at once. */
const entriesMax = 512;

/**
 * The image with its layers read from what a full pull has left on this node, instead of from a
 * registry: the records of its layers, and their files. Nothing on the node is locked or changed; files
 * that leave it meanwhile make the conversion fail.
 * @throws ThinError `not-found` if a layer is not on the node
 */
export function layersOnNode(image: SourceImage, node: NodePlace): SourceImage {
  const layers: SourceLayer[] = [];
  for (const layer of image.layers) {
    const record = openRecord(layer, node);
    const files = new NodeFiles(node);
    layers.push({
      ...layer,
      events: (signal, onProgress) => eventsOf(record, files, signal, onProgress),
    });
  }
  return { ...image, layers };
}

function openRecord({ diffId }: SourceLayer, { root }: NodePlace): LayerRecordFile {
  const path = layerRecordPath(layerRecordsFolder(root), diffId);
  try {
    const record = LayerRecordFile.open(path);
    checkRecord(record.summary, diffId);
    return record;
  } catch (error) {
    if (!isThinError(error, 'not-found')) throw error;
    throw new ThinError(
      'not-found',
      `Cannot convert from node: layer ${diffId} was not pulled to ${root} (wanted thin pull first)`,
    );
  }
}

/** The layer as its archive would be read, in the same order. */
async function* eventsOf(
  record: LayerRecordFile,
  files: NodeFiles,
  signal: AbortSignal,
  onProgress: (progress: LayerProgress) => void,
): AsyncGenerator<TarEvent[], LayerSummary> {
  const { summary } = record;
  let events: TarEvent[] = [];
  let plainBytes = 0;
  for (const entry of record.entries) {
    signal.throwIfAborted();
    events.push({ type: 'entry', entry });
    if (entry.type === 'file') {
      for (const bytes of entry.size > 0 ? files.read(entry.content, entry.size) : []) {
        events.push({ type: 'data', bytes });
        yield events;
        plainBytes += bytes.length;
        onProgress(progressAt(summary, plainBytes));
        events = [];
      }
      events.push({ type: 'end-of-file' });
    }
    if (events.length < entriesMax) continue;
    yield events;
    events = [];
  }
  if (events.length > 0) yield events;
  onProgress(progressAt(summary, summary.plainBytes));
  return summary;
}

/** As if so much of the archive had been inflated. */
function progressAt(summary: LayerSummary, plainBytes: number): LayerProgress {
  const share = Math.min(1, plainBytes / Math.max(1, summary.plainBytes));
  return { plainBytes, compressedBytes: Math.round(share * summary.compressedBytes) };
}

/** Files by content, in the tiers of a node. */
class NodeFiles {
  readonly #directories: readonly string[];
  readonly #piece = Buffer.allocUnsafeSlow(pieceBytes);

  constructor({ root, tiers }: NodePlace) {
    this.#directories = [...tiers, tierDirectory(root, localTier)];
  }

  /**
   * A file's bytes, verified when its last piece has been taken. A piece is valid until the next one is
   * asked for. Reads block: most files are small, and in the page cache.
   * @throws ThinError `not-found` if it is not here, `corrupt` if it is not what its name says
   */
  *read(content: Digest, size: number): Generator<Buffer, void> {
    const file = this.#open(content);
    const hash = createHash('sha256');
    let length = 0;
    try {
      for (let read = this.#fill(file); read > 0; read = this.#fill(file)) {
        const bytes = this.#piece.subarray(0, read);
        hash.update(bytes);
        length += read;
        if (length <= size) yield bytes;
      }
    } catch (error) {
      throw fromSystemError(`Cannot read file ${content} of the node`, error);
    } finally {
      closeSync(file);
    }
    if (length === size && `sha256:${hash.digest('hex')}` === content) return;
    throw new ThinError(
      'corrupt',
      `Cannot convert from node: file ${content} is wrong on its disk (wanted thin check, and thin pull)`,
    );
  }

  #fill(file: number): number {
    return readSync(file, this.#piece, 0, pieceBytes, null);
  }

  #open(content: Digest): number {
    for (const directory of this.#directories) {
      const path = tierPath(directory, content);
      try {
        return openSync(path, 'r');
      } catch (error) {
        if (errnoName(error) !== 'ENOENT') throw fromSystemError(`Cannot open ${path}`, error);
      }
    }
    throw new ThinError(
      'not-found',
      `Cannot convert from node: file ${content} has left it (wanted thin pull again)`,
    );
  }
}
