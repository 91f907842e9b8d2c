import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import type { Test } from 'tap';
import type { FileCache } from '../../src/cache/file-cache.js';
import { type Digest, digestOf } from '../../src/digest.js';
import type { DirectoryNode, TreeNode } from '../../src/image/tree.js';
import { ErofsImage } from '../../src/metadata/erofs-image.js';
import { toTree } from '../../src/metadata/to-tree.js';
import type { ImagePuller, PulledImage, PullOptions } from '../../src/pull/image-puller.js';
import type { PullLayer } from '../../src/pull/layer-source.js';
import { ImageMerge } from '../../src/pull/merge-image.js';
import type { MergeReply } from '../../src/pull/merge-records.js';
import type { PullWorkers } from '../../src/pull/pull-workers.js';
import { serveLayer } from '../../src/pull/serve-layer.js';
import { filesIn, wrongTierFiles } from '../cache/tier-listing.js';

export const gzipLayer = 'application/vnd.oci.image.layer.v1.tar+gzip';
/** As from a socket: cut where nothing else is. */
const pieceBytes = 50_000;
/** Of longer files only the size is looked at. */
const readBytesMax = 64 * 1024 * 1024;

export async function* piecesOf(bytes: Buffer): AsyncGenerator<Buffer, void> {
  for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes);
}

/** A layer that counts what is asked of it. */
export interface ServedLayer extends PullLayer {
  /** Bytes that were handed out. */
  served: number;
  requests: number;
}

export interface LayerChanges {
  readonly blob?: Buffer;
  readonly digest?: string;
  readonly size?: number;
  readonly diffId?: string;
  readonly mediaType?: string;
  /** What is handed out instead of the blob's own bytes. */
  readonly serve?: (blob: Buffer, signal: AbortSignal) => AsyncIterable<Buffer>;
}

/** A layer of this archive, as a registry would serve it. */
export function layerOf(tar: Buffer, changes: LayerChanges = {}): ServedLayer {
  const blob = changes.blob ?? gzipSync(tar);
  const serve = changes.serve ?? piecesOf;
  const layer: ServedLayer = {
    served: 0,
    requests: 0,
    descriptor: {
      mediaType: changes.mediaType ?? gzipLayer,
      digest: changes.digest ?? digestOf(blob),
      size: changes.size ?? blob.length,
    },
    diffId: changes.diffId ?? digestOf(tar),
    open: async function* (signal, { offset, length }) {
      layer.requests += 1;
      for await (const bytes of serve(blob.subarray(offset, offset + length), signal)) {
        layer.served += bytes.length;
        yield bytes;
      }
    },
  };
  return layer;
}

/** Workers without threads: those start slowly where TypeScript is compiled in each of them. */
export const inlineWorkers: PullWorkers = {
  startLayers: () => ({
    postMessage: serveLayer,
    onEnd: () => undefined,
    terminate: async () => undefined,
  }),
  startMerge: (request) => {
    const merge = new ImageMerge(request);
    let reply: (reply: MergeReply) => void = () => undefined;
    return {
      post: (message) => {
        if (message.type === 'layer') merge.add(message.layer);
        else void merge.finish().then((done) => reply(done));
      },
      reply: new Promise((resolve) => {
        reply = resolve;
      }),
      terminate: async () => undefined,
    };
  },
};

/** Pulls and pins; nothing is held any more when this returns. */
export async function pullAndPin(
  puller: ImagePuller,
  options: PullOptions,
): Promise<Omit<PulledImage, 'metadata'> & { readonly metadata: Buffer }> {
  const pulled = await puller.pull(options);
  try {
    await pulled.pin(pulled.metadata.path);
    const { path, digest } = pulled.metadata;
    const metadata = readFileSync(path);
    if (digestOf(metadata) !== digest) throw new Error('the metadata has another digest');
    return { ...pulled, metadata };
  } finally {
    await pulled[Symbol.asyncDispose]();
  }
}

export function treeOf({ metadata }: { readonly metadata: Buffer }): DirectoryNode {
  return toTree(ErofsImage.parse(metadata));
}

/** The contents of a tree's files, out of the cache. */
export function contentsIn(cache: FileCache, nodes: Iterable<TreeNode>): Map<Digest, Buffer> {
  const contents = new Map<Digest, Buffer>();
  for (const node of nodes) {
    if (node.type !== 'file') continue;
    const kept = node.size > 0 && node.size < readBytesMax;
    contents.set(node.content, kept ? readFileSync(cache.pathOf(node.content)) : Buffer.alloc(0));
  }
  return contents;
}

/** No image is made of what was stored, and nothing keeps it. */
export async function leavesNothing(t: Test, cache: FileCache, root: string): Promise<void> {
  t.same((await cache.usage()).images, []);
  t.same(wrongTierFiles(root), []);
  await cache.gc({ keepImages: [] });
  t.same(cache.tierDirectories.flatMap(filesIn), [], 'what was stored is held by nothing');
}
