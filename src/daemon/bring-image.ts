import { parseDigest } from '../digest.js';
import { isThinError } from '../errors.js';
import type { CheckedRequest } from './control-api.js';
import type { ImageFolder } from './image-folder.js';
import type { ImageHold } from './image-holds.js';
import type { ImageOpener, OpenContext } from './image-opener.js';
import type { LiveImage } from './live-image.js';
import type { LiveImages } from './live-images.js';
import type { NodeMounts } from './node-mounts.js';

export interface BringParts {
  readonly opener: Pick<ImageOpener, 'open'>;
  readonly live: Pick<LiveImages, 'get' | 'forget'>;
  readonly images: Pick<ImageFolder, 'remove'>;
  readonly mounted: { readonly roots: Pick<NodeMounts['roots'], 'prepare'> };
}

/**
 * Brings an image that is to be mounted. One whose files on this node were damaged is fetched once more.
 * @param hold that it is added to: nobody removes it before it is mounted
 * @throws ThinError as ImageOpener.open and LiveImages.get do
 */
export async function bringImage(
  { opener, live, images, mounted }: BringParts,
  request: CheckedRequest<'mount' | 'container.create'>,
  context: OpenContext,
  hold: ImageHold,
): Promise<LiveImage> {
  mounted.roots.prepare(request.form);
  const open = async () => {
    const { manifest } = await opener.open(request, context);
    hold.add(manifest);
    return parseDigest(manifest);
  };
  const manifest = await open();
  try {
    return await live.get(manifest);
  } catch (error) {
    if (!isThinError(error, 'corrupt', 'not-found') || request.pull === 'never') throw error;
    context.note(`${error.message}; fetching it again`);
    await images.remove(manifest);
    live.forget(manifest); // its thin form may be another one by now
    return live.get(await open());
  }
}
