import { parseReference } from '../src/image/reference.js';
import type { StoreOptions } from '../src/store/open-store.js';
import type { ImageContent } from './image-content.js';
import { layoutContent } from './layout-content.js';
import { registryContent } from './registry-content.js';

/** An image by what the command line calls it. */
export interface OpenedImage {
  readonly content: ImageContent;
  /** False: it is a file or folder of this machine. */
  readonly inRegistry: boolean;
}

/**
 * @param image registry reference or `oci:<layout>[:tag]`
 * @throws ThinError
 */
export async function openImage(image: string, options: StoreOptions): Promise<OpenedImage> {
  if (image.startsWith('oci:')) {
    return { content: await layoutContent(image.slice('oci:'.length)), inRegistry: false };
  }
  const content = await registryContent(parseReference(image), options.registry ?? {});
  return { content, inRegistry: true };
}
