import type { ContentTable } from '../src/chunk/content-table.js';
import type { FileChunks, Pack } from '../src/chunk/frame.js';
import { type Digest, digestOf } from '../src/digest.js';
import { ThinError } from '../src/errors.js';
import type { DirectoryNode } from '../src/image/tree.js';
import { mergeLayers } from '../src/metadata/merge.js';
import { encodeChunkMap } from '../src/thin/chunk-map-encoder.js';
import type { TakenLayers } from './take-layers.js';

export interface MergedImage {
  readonly root: DirectoryNode;
  /** Of the files that the tree shows. */
  readonly chunkMap: Buffer;
  readonly packs: readonly Pack[];
}

/** Puts layers together. @throws ThinError `corrupt` if they do not fit */
export function mergeImage({ layers, contents, packs }: TakenLayers): MergedImage {
  const root = mergeLayers(layers);
  const chunkMap = encodeChunkMap({ files: shownFiles(root, contents), packs });
  return { root, chunkMap, packs };
}

/** The files that the image shows, each content once, in the order of the layers. */
function shownFiles(root: DirectoryNode, contents: ContentTable): Iterable<FileChunks> {
  const shown = new Uint8Array(contents.fileCount);
  for (const content of contentsOf(root)) {
    const row = contents.findFile(content);
    if (row < 0) {
      throw new ThinError(
        'corrupt',
        `Cannot publish image: content ${content} is in none of its layers`,
      );
    }
    shown[row] = 1;
  }
  return {
    *[Symbol.iterator]() {
      for (const [row, isShown] of shown.entries()) if (isShown) yield contents.fileAt(row);
    },
  };
}

const emptyContent = digestOf(Buffer.alloc(0));

function* contentsOf(root: DirectoryNode): Generator<Digest, void> {
  const waiting = [root];
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    for (const node of at.children.values()) {
      if (node.type === 'directory') waiting.push(node);
      else if (node.type === 'file' && node.content !== emptyContent) yield node.content;
    }
  }
}
