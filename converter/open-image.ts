import { parseReference } from '../src/image/reference.js';
import type { StoreOptions } from '../src/store/open-store.js';
import { archiveContent } from './archive-content.js';
import { folderContent } from './folder-content.js';
import type { ImageContent } from './image-content.js';
import { layoutContent } from './layout-content.js';
import type { Spool } from './spool.js';

/** An image by what the command line calls it. */
export interface OpenedImage {
  readonly content: ImageContent;
  /** False: it is a file or folder of this machine. */
  readonly inRegistry: boolean;
}

/**
 * @param image registry reference, `oci:<layout>[:tag]`, `docker-archive:<tar>` or `dir:<rootfs>`
 * @param spool for what has to be unpacked
 * @throws ThinError
 */
export async function openImage(
  image: string,
  options: StoreOptions,
  spool: Spool,
  signal: AbortSignal,
): Promise<OpenedImage> {
  if (image.startsWith('oci:')) {
    return { content: await layoutContent(image.slice('oci:'.length)), inRegistry: false };
  }
  if (image.startsWith('docker-archive:')) {
    const archive = image.slice('docker-archive:'.length);
    return { content: await archiveContent(archive, spool, signal), inRegistry: false };
  }
  if (image.startsWith('dir:')) {
    const content = await folderContent(image.slice('dir:'.length), signal);
    return { content, inRegistry: false };
  }
  const { registryContent } = await import('./registry-content.js'); // it loads an HTTP client
  const content = await registryContent(parseReference(image), options.registry ?? {});
  return { content, inRegistry: true };
}
