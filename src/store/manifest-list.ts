import { z } from 'zod';
import { isDigest } from '../digest.js';
import { ThinError } from '../errors.js';
import { limits } from '../limits.js';
import type { ListedManifest } from './store.js';

/** Manifests that one index may list: platforms of an image, or referrers of a manifest. */
const listedMax = 256;

const text = z.string().max(255);

const indexSchema = z.object({
  schemaVersion: z.literal(2),
  manifests: z
    .array(
      z.object({
        mediaType: text,
        digest: z.string().refine(isDigest),
        size: z.int().positive().max(limits.manifestBytesMax),
        artifactType: text.optional(),
        platform: z
          .object({
            os: text,
            architecture: text,
            variant: text.optional(),
            'os.version': text.optional(),
            'os.features': z.array(text).max(64).optional(),
          })
          .optional(),
      }),
    )
    .max(listedMax),
});

export const indexMediaType = 'application/vnd.oci.image.index.v1+json';

/** The bytes of an OCI index, with the fields of each entry in a fixed order. */
export function encodeManifestList(manifests: readonly ListedManifest[]): Buffer {
  const entries = manifests.map(({ mediaType, digest, size, artifactType, platform }) => ({
    mediaType,
    digest,
    size,
    artifactType,
    platform,
  }));
  return Buffer.from(
    JSON.stringify({ schemaVersion: 2, mediaType: indexMediaType, manifests: entries }),
  );
}

/** @throws ThinError `corrupt` */
export function parseManifestList(bytes: Buffer, where: string): ListedManifest[] {
  try {
    return indexSchema.parse(JSON.parse(bytes.toString('utf8'))).manifests;
  } catch (error) {
    throw new ThinError('corrupt', `Cannot read ${where}: it is not an OCI index`, {
      cause: error,
    });
  }
}
