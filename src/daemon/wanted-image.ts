import type { Platform } from '../image/descriptor.js';
import { hostPlatform, parsePlatform } from '../image/platform.js';
import { formatReference, type ImageReference, parseReference } from '../image/reference.js';
import type { ImageRequest } from './control-api.js';
import type { ImageRecord, ImageSource } from './image-folder.js';

/** What a request means, worked out once. */
export interface WantedImage {
  readonly reference: ImageReference;
  readonly name: string;
  readonly platform: Platform;
  readonly source: ImageSource;
}

/** @throws ThinError `invalid` */
export function wantedImage(request: ImageRequest): WantedImage {
  const reference = parseReference(request.reference);
  const { store, plainHttp, caFile, s3Endpoint, s3Region } = request;
  return {
    reference,
    name: formatReference(reference),
    platform: request.platform === undefined ? hostPlatform() : parsePlatform(request.platform),
    source: {
      location: store ?? `${reference.registry}/${reference.repository}`,
      ...(plainHttp !== undefined && { plainHttp }),
      ...(caFile !== undefined && { caFile }),
      ...(s3Endpoint !== undefined && { s3Endpoint }),
      ...(s3Region !== undefined && { s3Region }),
    },
  };
}

/**
 * The very image of a record that was pulled from a registry.
 * @throws ThinError `invalid` if it came from elsewhere
 */
export function wantedAgain({
  manifest,
  platform,
  sources,
}: Pick<ImageRecord, 'manifest' | 'platform' | 'sources'>): WantedImage {
  const [source = { location: '' }] = sources;
  const reference = parseReference(`${source.location}@${manifest}`);
  return { reference, name: formatReference(reference), platform: parsePlatform(platform), source };
}
