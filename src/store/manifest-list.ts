import { isDigest } from '../digest.js';
import { ThinError } from '../errors.js';
import type { Descriptor } from '../image/descriptor.js';
import { parseManifest } from '../image/manifest.js';
import { mediaTypes } from '../image/media-type.js';
import type { ListedManifest } from './store.js';

/** Manifests that one index may list: platforms of an image, or referrers of a manifest. */
const listedMax = 256;

/** The bytes of an OCI index of `manifests`. */
export function encodeManifestList(manifests: readonly ListedManifest[]): Buffer {
  const mediaType = mediaTypes.ociIndex;
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, manifests }));
}

/** @throws ThinError `corrupt`, `invalid` */
export function parseManifestList(bytes: Buffer): ListedManifest[] {
  const index = parseManifest(bytes, mediaTypes.ociIndex);
  if (index.kind !== 'index' || index.manifests.length > listedMax) {
    throw new ThinError('corrupt', `Cannot read index: it lists more than ${listedMax} manifests`);
  }
  return index.manifests.filter(isListed);
}

/** What is named by another digest than ours is nothing that we published. */
export function isListed(manifest: Descriptor): manifest is ListedManifest {
  return isDigest(manifest.digest);
}
