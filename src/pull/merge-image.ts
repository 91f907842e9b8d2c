import { createHash } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { FileStore } from '../../native-bindings/file-store.js';
import { trimMemory } from '../../native-bindings/trim-memory.js';
import { LayerRecordFile } from '../cache/layer-record.js';
import { checkRecord } from '../cache/layer-records.js';
import { type Digest, digestFromBytes, digestSize } from '../digest.js';
import { fromSystemError } from '../errors.js';
import type { FileColumns } from '../file-columns.js';
import type { DirectoryNode, FileNode } from '../image/tree.js';
import { filePieces } from '../layer/entry-file.js';
import { planErofs } from '../metadata/erofs-writer.js';
import { LayerMerge } from '../metadata/merge.js';
import { writeDigest } from '../metadata/merged-file.js';
import type { MergedLayer, MergeReply, MergeRequest } from './merge-records.js';

/**
 * Makes one image's metadata of its layers' records. Blocks: the tree takes some hundred bytes and some
 * microseconds for each file.
 */
export class ImageMerge {
  readonly #request: MergeRequest;
  #merge: LayerMerge | undefined;
  #plainBytes = 0;
  #failure: { readonly error: unknown } | undefined;

  constructor(request: MergeRequest) {
    this.#request = request;
  }

  /** The next layer, lowest first. What is wrong with its record `finish` tells. */
  add({ record: path, diffId }: MergedLayer): void {
    if (this.#failure !== undefined) return;
    try {
      this.#merge ??= new LayerMerge(this.#request.layers);
      const record = LayerRecordFile.open(path);
      const { entries, paths, summary, mayHaveWhiteouts } = record;
      checkRecord(summary, diffId);
      this.#plainBytes += summary.plainBytes;
      this.#merge.add({ diffId: summary.diffId, entries, paths, mayHaveWhiteouts });
    } catch (error) {
      this.#failure = { error };
    }
  }

  /** All layers were added. */
  async finish(): Promise<MergeReply> {
    try {
      if (this.#failure !== undefined) throw this.#failure.error;
      const merge = this.#merge ?? new LayerMerge(0);
      const store = new FileStore(this.#request.place);
      const sorting = store.sorted(filesOf(merge.root)); // on another thread
      sorting.catch(() => undefined); // is thrown where it is awaited
      globalThis.gc?.(); // what reading the records has left
      trimMemory(); // and what threads have freed that end meanwhile
      const digest = writeMetadata(this.#request.metadata, merge);
      return { digest, ...(await sorting), plainBytes: this.#plainBytes };
    } catch (error) {
      const { code, message } = fromSystemError('Cannot merge layers', error);
      return { code, message };
    }
  }
}

/** Not synced. @returns the digest of the whole file */
function writeMetadata(path: string, { root, linked }: LayerMerge): Digest {
  const { writeTo } = planErofs(root, linked);
  const fd = openSync(path, 'wx', 0o600);
  try {
    writeTo((bytes, at) => {
      for (let done = 0; done < bytes.length; ) {
        done += writeSync(fd, bytes, done, bytes.length - done, at + done);
      }
    });
  } finally {
    closeSync(fd);
  }
  const hash = createHash('sha256');
  for (const piece of filePieces(path)) hash.update(piece);
  return digestFromBytes(hash.digest(), 0);
}

/** The files of a tree that have bytes, as often as it names them. */
function filesOf(root: DirectoryNode): FileColumns {
  let count = 0;
  eachFile(root, () => {
    count += 1;
  });
  const digests = Buffer.allocUnsafeSlow(count * digestSize);
  const sizes = new Float64Array(count);
  let at = 0;
  eachFile(root, (file) => {
    writeDigest(file, digests, at * digestSize);
    sizes[at] = file.size;
    at += 1;
  });
  return { digests, sizes };
}

function eachFile(root: DirectoryNode, look: (file: FileNode) => void): void {
  const waiting = [root];
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    for (const node of at.children.values()) {
      if (node.type === 'directory') waiting.push(node);
      else if (node.type === 'file' && node.size > 0) look(node);
    }
  }
}
