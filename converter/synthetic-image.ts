import { type Digest, digestOf } from '../src/digest.js';
import { ThinError } from '../src/errors.js';
import type { Descriptor } from '../src/image/descriptor.js';
import { mediaTypes } from '../src/image/media-type.js';
import type { ImageContent, ImageDocument } from './image-content.js';

/** Bytes that are an image's layer, whatever held them. */
export interface LooseLayer {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  readonly compression: 'none' | 'gzip' | 'zstd';
  open(offset: number, signal: AbortSignal): AsyncIterable<Buffer>;
}

const layerMediaTypes = {
  none: 'application/vnd.oci.image.layer.v1.tar',
  gzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
  zstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
} as const;

/** An image with a manifest that is made here: the same config and layers give the same bytes. */
export function syntheticImage(
  shown: string,
  name: string | undefined,
  config: Buffer,
  layers: readonly LooseLayer[],
): ImageContent {
  const configDescriptor = describe(mediaTypes.ociConfig, digestOf(config), config.length);
  const manifest: ImageDocument = {
    mediaType: mediaTypes.ociManifest,
    bytes: Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: mediaTypes.ociManifest,
        config: configDescriptor,
        layers: layers.map(({ compression, digest, size }) =>
          describe(layerMediaTypes[compression], digest, size),
        ),
      }),
    ),
  };
  const layerOf = (digest: string) => layers.find((layer) => layer.digest === digest);
  return {
    name,
    root: async () => manifest,
    document: async ({ digest }) => {
      throw new ThinError('not-found', `Cannot read manifest ${digest}: ${shown} has none`);
    },
    async *open({ digest }, offset, signal) {
      const layer = layerOf(digest);
      if (layer) yield* layer.open(offset, signal);
      else if (digest === configDescriptor.digest) yield config.subarray(offset);
      else throw new ThinError('not-found', `Cannot read blob ${digest}: ${shown} has none`);
    },
    toString: () => shown,
    [Symbol.asyncDispose]: async () => undefined,
  };
}

function describe(mediaType: string, digest: Digest, size: number): Descriptor {
  return { mediaType, digest, size };
}
