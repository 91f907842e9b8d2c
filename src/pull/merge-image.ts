import { createHash } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { FileStore } from '../../native-bindings/file-store.js';
import { LayerRecordFile } from '../cache/layer-record.js';
import { eachOnce, PackedFilesWriter, packedDigests } from '../cache/packed-files.js';
import { type Digest, digestFromBytes } from '../digest.js';
import { fromSystemError } from '../errors.js';
import type { DirectoryNode } from '../image/tree.js';
import { filePieces } from '../layer/entry-file.js';
import { planErofs } from '../metadata/erofs-writer.js';
import { mergeLayers } from '../metadata/merge.js';
import type { MergeReply, MergeRequest } from './merge-records.js';

/**
 * Makes one image's metadata of its layers' records. Blocks: the tree takes some hundred bytes and some
 * microseconds for each file.
 */
export async function mergeImage({ records, place, metadata }: MergeRequest): Promise<MergeReply> {
  try {
    const root = treeOf(records);
    globalThis.gc?.(); // what reading the records has left
    const files = filesOf(root);
    const missing = new FileStore(place).countMissing(packedDigests(files)); // on another thread
    const digest = writeMetadata(metadata, root);
    return (await missing) > 0 ? 'files-missing' : { digest, files };
  } catch (error) {
    const { code, message } = fromSystemError('Cannot merge layers', error);
    return { code, message };
  }
}

function treeOf(paths: readonly string[]): DirectoryNode {
  const layers = paths.map((path) => {
    const record = LayerRecordFile.open(path);
    const { entries, paths } = record;
    return { diffId: record.summary.diffId, entries, paths };
  });
  return mergeLayers(layers);
}

/** Not synced. @returns the digest of the whole file */
function writeMetadata(path: string, root: DirectoryNode): Digest {
  const { writeTo } = planErofs(root);
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

/** The files of a tree that have bytes, each content once, by digest. */
function filesOf(root: DirectoryNode): Buffer {
  const files = new PackedFilesWriter();
  const waiting = [root];
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    for (const node of at.children.values()) {
      if (node.type === 'directory') waiting.push(node);
      else if (node.type === 'file' && node.size > 0) files.add(node);
    }
  }
  return eachOnce(files.finish());
}
