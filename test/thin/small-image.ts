import { compressFrame } from '../../src/chunk/codec.js';
import type { Chunk, FileChunks, Frame, Pack } from '../../src/chunk/frame.js';
import { type Digest, digestOf } from '../../src/digest.js';
import type { Platform } from '../../src/image/descriptor.js';
import { mediaTypes } from '../../src/image/media-type.js';
import { encodeChunkMap } from '../../src/thin/chunk-map-encoder.js';
import type { OpenBytes } from '../../src/thin/image-store.js';
import type { NewThinImage } from '../../src/thin/publish-thin-image.js';

export const amd64: Platform = { os: 'linux', architecture: 'amd64' };

export interface SmallImage extends NewThinImage {
  /** Of the original manifest. */
  readonly subject: Digest;
  readonly files: readonly FileChunks[];
  readonly pack: Pack & { readonly bytes: Buffer };
}

/** Contents of the files of {@link smallImage}: two share a frame, the last has one of its own. */
export const smallContents: readonly Buffer[] = [
  Buffer.from('first file\n'.repeat(100)),
  Buffer.from('second file\n'),
  Buffer.alloc(100_000, 'third file '),
];

/**
 * A thin image with one real pack; its metadata is no EROFS image, which nothing here looks into.
 * The same `name` gives the same bytes.
 */
export async function smallImage(
  name: string,
  over: Partial<Pick<NewThinImage, 'repository' | 'platform'>> = {},
): Promise<SmallImage> {
  const { repository = 'localhost:5000/team/app', platform = amd64 } = over;
  const [first, second, third] = smallContents;
  if (!first || !second || !third) throw new Error('three files are needed');
  const { pack, files } = await packOf([
    [first, second],
    [third, Buffer.from(name)],
  ]);
  const layer = Buffer.from(`layer of ${name}`);
  const config = Buffer.from(JSON.stringify(configOf(platform, layer)));
  const manifest = Buffer.from(JSON.stringify(manifestOf(config, layer)));
  return {
    repository,
    platform,
    config,
    manifest: { mediaType: mediaTypes.ociManifest, bytes: manifest },
    metadata: Buffer.from(`metadata of ${name} `.repeat(500)),
    chunkMap: encodeChunkMap({ files, packs: [pack] }),
    packs: [{ digest: pack.digest, size: pack.size, open: bytesFrom(pack.bytes) }],
    subject: digestOf(manifest),
    files,
    pack,
  };
}

/** One frame for each group of contents, each content one chunk. */
async function packOf(groups: readonly (readonly Buffer[])[]) {
  const frames = await Promise.all(groups.map((group) => compressFrame(Buffer.concat(group), 3)));
  const bytes = Buffer.concat(frames.map((frame) => frame.bytes));
  const pack = { digest: digestOf(bytes), size: bytes.length, bytes };
  let offset = 0;
  const files = frames.flatMap((encoded, index) => {
    const group = groups[index] ?? [];
    const { length } = encoded.bytes;
    const plainLength = group.reduce((sum, content) => sum + content.length, 0);
    const frame = { pack: pack.digest, offset, length, plainLength, codec: encoded.codec };
    offset += length;
    return filesOf(frame, group);
  });
  return { pack, files };
}

function filesOf(frame: Frame, contents: readonly Buffer[]): FileChunks[] {
  let offsetInFrame = 0;
  return contents.map((content) => {
    const digest = digestOf(content);
    const chunk: Chunk = { digest, length: content.length, frame, offsetInFrame };
    offsetInFrame += content.length;
    return { content: digest, size: content.length, chunks: [chunk] };
  });
}

function configOf({ os, architecture }: Platform, layer: Buffer) {
  return { architecture, os, rootfs: { type: 'layers', diff_ids: [digestOf(layer)] } };
}

function manifestOf(config: Buffer, layer: Buffer) {
  const named = (mediaType: string, bytes: Buffer) => ({
    mediaType,
    digest: digestOf(bytes),
    size: bytes.length,
  });
  return {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: named(mediaTypes.ociConfig, config),
    layers: [named('application/vnd.oci.image.layer.v1.tar', layer)],
  };
}

export function bytesFrom(bytes: Buffer): OpenBytes {
  return async function* open(offset) {
    if (offset < bytes.length) yield bytes.subarray(offset);
  };
}
