import { digestOf } from '../digest.js';
import { ThinError } from '../errors.js';
import { ChunkMap } from './chunk-map.js';
import type { ThinDescriptor } from './descriptor.js';
import type { BlobSource } from './image-store.js';
import { readWire } from './wire-blob.js';
import { readWireMetadata } from './wire-metadata.js';

/** What a node needs of a thin image to mount it. */
export interface LoadedThinImage {
  /** The plain EROFS image, verified. */
  readonly metadata: Buffer;
  /** The plain chunk map, verified. */
  readonly chunkMapBytes: Buffer;
  readonly chunkMap: ChunkMap;
}

/**
 * Fetches and verifies metadata and chunk map.
 * @throws ThinError `corrupt`, and what the store throws
 */
export async function loadThinImage(
  store: BlobSource,
  descriptor: ThinDescriptor,
  signal: AbortSignal,
): Promise<LoadedThinImage> {
  const bytes = readWire(store, descriptor.chunkMap, signal);
  const map = bytes.then((plain) => readChunkMap(descriptor, plain));
  const [metadata, chunkMapBytes, chunkMap] = await Promise.all([
    readWireMetadata(store, descriptor.metadata, map, signal),
    bytes,
    map,
  ]);
  return { metadata, chunkMapBytes, chunkMap };
}

/**
 * The chunk map that a descriptor names, from its plain bytes (a node keeps them so).
 * @throws ThinError `corrupt` if they are others, or refer to packs that the descriptor does not name
 */
export function readChunkMap(descriptor: ThinDescriptor, bytes: Buffer): ChunkMap {
  const { plainDigest } = descriptor.chunkMap;
  if (digestOf(bytes) !== plainDigest) {
    throw new ThinError('corrupt', `Cannot use chunk map: it is not ${plainDigest}`);
  }
  const map = ChunkMap.parse(bytes);
  const sizes = new Map(descriptor.packs.map((pack) => [pack.digest, pack.size]));
  for (const { digest, size } of map.packs) {
    if (sizes.get(digest) === size) continue;
    throw new ThinError(
      'corrupt',
      `Cannot use chunk map: its pack ${digest} of ${size} bytes is not one of the descriptor`,
    );
  }
  return map;
}
