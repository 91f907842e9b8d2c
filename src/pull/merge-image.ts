import { FileStore } from '../../native-bindings/file-store.js';
import { LayerRecordFile } from '../cache/layer-record.js';
import { byDigest, packFiles } from '../cache/packed-files.js';
import type { Digest } from '../digest.js';
import { fromSystemError } from '../errors.js';
import type { DirectoryNode } from '../image/tree.js';
import { writeErofs } from '../metadata/erofs-writer.js';
import { mergeLayers } from '../metadata/merge.js';
import type { MergeReply, MergeRequest } from './merge-records.js';

/**
 * Makes one image's metadata of its layers' records. Blocks: the tree takes some hundred bytes and some
 * microseconds for each file.
 */
export async function mergeImage({ records, place }: MergeRequest): Promise<MergeReply> {
  try {
    const root = treeOf(records);
    globalThis.gc?.(); // what reading the records has left
    const contents = contentsOf(root);
    const missing = new FileStore(place).missing([...contents.keys()]); // looked for on another thread
    const metadata = writeErofs(root);
    if ((await missing).length > 0) return 'files-missing';
    const refs = [...contents].map(([content, size]) => ({ content, size }));
    const files = byDigest(packFiles(refs, refs.length));
    return { metadata, files };
  } catch (error) {
    const { code, message } = fromSystemError('Cannot merge layers', error);
    return { code, message };
  }
}

function treeOf(paths: readonly string[]): DirectoryNode {
  const layers = paths.map((path) => {
    const { summary, entries } = LayerRecordFile.open(path);
    return { diffId: summary.diffId, entries };
  });
  return mergeLayers(layers);
}

/** The files of a tree that have bytes, each content once. */
function contentsOf(root: DirectoryNode): Map<Digest, number> {
  const sizes = new Map<Digest, number>();
  const waiting = [root];
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    for (const node of at.children.values()) {
      if (node.type === 'directory') waiting.push(node);
      else if (node.type === 'file' && node.size > 0) sizes.set(node.content, node.size);
    }
  }
  return sizes;
}
