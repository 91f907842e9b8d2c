import { createReadStream } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { FileCache } from '../../src/cache/file-cache.js';
import type { ImageFile } from '../../src/hot/image-files.js';
import { ImageFiles } from '../../src/hot/image-files.js';
import { type ImageConfig, parseImageConfig } from '../../src/image/image-config.js';
import { ErofsImage } from '../../src/metadata/erofs-image.js';
import { ImagePuller } from '../../src/pull/image-puller.js';
import { cacheOptions } from '../cache/cache-rig.js';
import { inlineWorkers, pullAndPin } from '../pull/pull-rig.js';
import { blobPath, type ImageName, testImage } from '../support/images.js';

/** All files of a test image, in a cache of their own. */
export interface PulledFiles extends AsyncDisposable {
  readonly files: ImageFiles;
  readonly config: ImageConfig;
  /** How often files were read, and bytes. */
  readonly reads: { count: number; bytes: number };
}

/** @param root made if missing; whoever made it removes it */
export async function pullFiles(name: ImageName, root: string): Promise<PulledFiles> {
  const image = await testImage(name);
  const cache = await FileCache.open(cacheOptions(root));
  const puller = await ImagePuller.open(cache, root, { workers: inlineWorkers });
  const { metadata } = await pullAndPin(puller, {
    image: name,
    layers: image.layers.map(({ descriptor, diffId }) => ({
      descriptor,
      diffId,
      open: (_signal, { offset, length }) =>
        createReadStream(blobPath(image.layout, descriptor.digest), {
          start: offset,
          end: offset + length - 1,
        }),
    })),
    signal: new AbortController().signal,
  });
  const reads = { count: 0, bytes: 0 };
  const read = async ({ content }: ImageFile, offset: number, length: number) => {
    await using file = await open(cache.pathOf(content));
    const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, offset);
    reads.count += 1;
    reads.bytes += bytesRead;
    return buffer.subarray(0, bytesRead);
  };
  return {
    files: new ImageFiles(ErofsImage.parse(metadata), read),
    config: parseImageConfig(await readFile(blobPath(image.layout, image.config.digest))),
    reads,
    [Symbol.asyncDispose]: () => cache[Symbol.asyncDispose](),
  };
}
