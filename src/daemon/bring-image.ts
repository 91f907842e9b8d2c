import { parseDigest } from '../digest.js';
import { isThinError } from '../errors.js';
import { formatPlatform } from '../image/platform.js';
import type { PullMode } from '../pull/pull-mode.js';
import type { CheckedRequest, ImageRequest } from './control-api.js';
import type { ImageFolder, ImageRecord } from './image-folder.js';
import type { ImageHold } from './image-holds.js';
import type { ImageOpener, OpenContext } from './image-opener.js';
import type { LiveImage } from './live-image.js';
import type { LiveImages } from './live-images.js';
import type { NodeMounts } from './node-mounts.js';
import { wantedImage } from './wanted-image.js';

export interface BringParts {
  readonly opener: Pick<ImageOpener, 'open'>;
  readonly live: Pick<LiveImages, 'get' | 'forget'>;
  readonly images: Pick<ImageFolder, 'replace'>;
  readonly mounted: { readonly roots: Pick<NodeMounts['roots'], 'prepare'> };
}

type OpenParts = Omit<BringParts, 'mounted' | 'images'> & {
  readonly images: Pick<ImageFolder, 'replace' | 'find' | 'check'>;
};

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
    const record = await opener.open(request, context);
    hold.add(record.manifest);
    return record;
  };
  const use = ({ manifest }: ImageRecord) => live.get(parseDigest(manifest));
  return await useSound({ live, images }, { open, use, request, context });
}

/**
 * Opens an image whose files somebody will read by himself. One that was here, and was damaged, is
 * fetched once more.
 * @throws ThinError as ImageOpener.open does; `corrupt` if it may not be fetched
 */
export async function openImage(
  { opener, live, images }: OpenParts,
  request: ImageRequest,
  context: OpenContext,
  mode?: PullMode,
): Promise<ImageRecord> {
  const { name, platform } = wantedImage(request);
  const wasHere = images.find(name, formatPlatform(platform)) !== undefined;
  const open = () => opener.open(request, context, mode);
  const use = async (record: ImageRecord) => {
    if (wasHere) await images.check(parseDigest(record.manifest));
    return record;
  };
  return await useSound({ live, images }, { open, use, request, context });
}

/** Opens and uses; once more, without what is here, if that turns out to be damaged. */
async function useSound<T>(
  { live, images }: Pick<BringParts, 'live' | 'images'>,
  {
    open,
    use,
    request,
    context,
  }: {
    readonly open: () => Promise<ImageRecord>;
    readonly use: (record: ImageRecord) => Promise<T>;
    readonly request: ImageRequest;
    readonly context: OpenContext;
  },
): Promise<T> {
  const record = await open();
  try {
    return await use(record);
  } catch (error) {
    if (!isThinError(error, 'corrupt', 'not-found') || request.pull === 'never') throw error;
    context.note(`${error.message}; fetching it again`);
    const manifest = parseDigest(record.manifest);
    return await images.replace(manifest, async () => {
      live.forget(manifest); // its thin form may be another one by now
      return use(await open());
    });
  }
}
