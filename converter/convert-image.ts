import type { Digest } from '../src/digest.js';
import { writeErofs } from '../src/metadata/erofs-writer.js';
import { ChunkMap } from '../src/thin/chunk-map.js';
import {
  type NewThinImage,
  type PublishedThinImage,
  publishThinImage,
} from '../src/thin/publish-thin-image.js';
import { type MergedImage, mergeImage } from './merge-image.js';
import { PackUploads } from './pack-uploads.js';
import type { SourceImage } from './source-image.js';
import { type LayerOptions, takeLayers } from './take-layers.js';
import type { Target } from './target.js';

export type ConvertOptions = LayerOptions;

export interface ConvertedImage {
  readonly published: PublishedThinImage['listed'];
  readonly files: number;
  readonly chunks: number;
  /** Plain bytes of all files of the image's tree. */
  readonly plainBytes: number;
  readonly bytesUploaded: number;
  /** Bytes on the wire of frames that the store had already. */
  readonly bytesReused: number;
  /** Bytes of the frames that the image's files are in: what all of it costs on the wire. */
  readonly publishedBytes: number;
}

/**
 * Converts one platform's image and publishes it: packs first, and what makes it visible last. Rows
 * of the conversion index follow what they speak of.
 * @throws ThinError; whatever happens, nothing is published but the whole
 */
export async function convertImage(
  image: SourceImage,
  target: Target,
  options: ConvertOptions,
): Promise<ConvertedImage> {
  const uploads = new PackUploads(target, options.signal, options.onProgress);
  const content = await makeContent(image, target, uploads, options);
  const { listed, newBytes } = await publishThinImage(
    target.store,
    {
      repository: target.repository,
      manifest: image.manifest,
      config: image.config,
      platform: image.platform,
      ...content,
    },
    options.signal,
  );
  const bytesUploaded = uploads.sentBytes + newBytes;
  return { published: listed, bytesUploaded, ...sumOf(content.chunkMap, uploads.sent) };
}

type Content = Pick<NewThinImage, 'metadata' | 'chunkMap' | 'packs'>;

async function makeContent(
  image: SourceImage,
  target: Target,
  uploads: PackUploads,
  options: ConvertOptions,
): Promise<Content> {
  try {
    const content = await putTogether(image, target, uploads, options);
    giveBackMemory();
    await uploads.finish();
    return content;
  } catch (error) {
    throw uploads.failure ?? error;
  } finally {
    await uploads.stop();
  }
}

/** The tree is gone when it returns. */
async function putTogether(...given: Parameters<typeof makeContent>): Promise<Content> {
  const { root, chunkMap, packs } = await mergedLayers(...given);
  giveBackMemory();
  return { metadata: writeErofs(root), chunkMap, packs };
}

/** What is known of the layers' chunks is gone when it returns. */
async function mergedLayers(...given: Parameters<typeof makeContent>): Promise<MergedImage> {
  return mergeImage(await takeLayers(...given));
}

/**
 * Collects what the last stage has left, which V8 would let lie until the heap has doubled: the next
 * stage takes its place. Only if Node was started with --expose-gc, as thinify's first line does.
 */
function giveBackMemory(): void {
  globalThis.gc?.();
}

/** What the image is made of. @param sent packs that the store did not have */
function sumOf(chunkMap: Buffer, sent: ReadonlySet<Digest>) {
  const map = ChunkMap.parse(chunkMap);
  const sums = { files: 0, plainBytes: 0, bytesReused: 0, publishedBytes: 0 };
  for (const { size } of map.files()) {
    sums.files += 1;
    sums.plainBytes += size;
  }
  for (const { pack, length } of map.frames()) {
    sums.publishedBytes += length;
    if (!sent.has(pack)) sums.bytesReused += length;
  }
  return { ...sums, chunks: map.chunkCount };
}
