import { zstdDecompress } from '../../native-bindings/zstd.js';
import { digestOf } from '../digest.js';
import { fromBareMetadata, toBareMetadata } from './bare-metadata.js';
import type { ChunkMap } from './chunk-map.js';
import type { WireMetadata } from './descriptor.js';
import type { BlobSource } from './image-store.js';
import { checkPlain, readWhole, readWire, toWire } from './wire-blob.js';

/** Compresses metadata for the wire, without what `map` says too. */
export async function toWireMetadata(
  metadata: Buffer,
  map: ChunkMap,
): Promise<{ blob: WireMetadata; bytes: Buffer }> {
  const bare = toBareMetadata(metadata, map);
  if (!bare) return toWire(metadata);
  const { blob, bytes } = await toWire(bare);
  const plain = { plainDigest: digestOf(metadata), plainSize: metadata.length };
  return { blob: { ...blob, ...plain, bareSize: bare.length }, bytes };
}

/**
 * Fetches the metadata of an image, verified.
 * @param map of the same image, which may come later
 * @throws ThinError `corrupt`, and what the store or `map` throws
 */
export async function readWireMetadata(
  store: BlobSource,
  blob: WireMetadata,
  map: Promise<ChunkMap>,
  signal: AbortSignal,
): Promise<Buffer> {
  if (blob.bareSize === undefined) return readWire(store, blob, signal);
  const bytes = await readWhole(store, blob, signal);
  const bare = await zstdDecompress(bytes, blob.bareSize);
  const metadata = fromBareMetadata(bare, blob.plainSize, await map);
  checkPlain(metadata, blob);
  return metadata;
}
