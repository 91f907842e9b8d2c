import { ensureImage } from '../../scripts/images/image-cache.js';
import { type LayoutImage, layoutTag, readImage } from '../../scripts/images/image-manifest.js';
import { blobPath } from '../../scripts/images/oci-layout.js';
import type { ImageName } from '../../scripts/images/recipes.js';
import { runCommand } from './run-command.js';

export type { ImageName, LayoutImage };
export { blobPath, layoutTag };

/**
 * A real image as an OCI layout, built on first use (scripts/images/recipes.ts says of what). The
 * layout is shared by all tests: read it, and never write to it.
 */
export async function testImage(name: ImageName): Promise<LayoutImage> {
  return readImage(await ensureImage(name));
}

export interface PushOptions {
  /** `user:password`. */
  readonly credentials?: string;
  /** A folder with the certificate authority of a TLS registry as `ca.crt`; plain HTTP without. */
  readonly certificates?: string;
}

/** Pushes an image as it is, digests included, to `registry/repository:tag`, with skopeo. */
export async function pushToRegistry(
  image: LayoutImage,
  reference: string,
  options: PushOptions = {},
): Promise<void> {
  const { credentials, certificates } = options;
  const flags = [
    certificates ? `--dest-cert-dir=${certificates}` : '--dest-tls-verify=false',
    ...(credentials ? [`--dest-creds=${credentials}`] : ['--dest-no-creds']),
  ];
  await runCommand('skopeo', [
    '--insecure-policy',
    'copy',
    '--quiet',
    '--preserve-digests',
    ...flags,
    `oci:${image.layout}:${layoutTag}`,
    `docker://${reference}`,
  ]);
}
