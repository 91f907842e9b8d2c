import type { Progress } from '../src/cli/progress.js';
import { isThinError } from '../src/errors.js';
import { formatPlatform, hostPlatform } from '../src/image/platform.js';
import { openWritableStore, type StoreOptions } from '../src/store/open-store.js';
import type { ListedManifest } from '../src/thin/image-store.js';
import { publishThinTag } from '../src/thin/publish-thin-image.js';
import { ConversionIndex } from './conversion-index.js';
import { type ConvertedImage, type ConvertOptions, convertImage } from './convert-image.js';
import { type Destination, destinationOf } from './destination.js';
import type { ImageContent } from './image-content.js';
import { layersOnNode, type NodePlace } from './node-layers.js';
import { openImage } from './open-image.js';
import { type SourceImage, sourceImages } from './source-image.js';
import { Spool } from './spool.js';
import type { StorePlace } from './store-place.js';
import { publishedImage, type Target } from './target.js';

export interface ThinifyOptions {
  /** As on the command line. */
  readonly image: string;
  readonly to?: string | undefined;
  readonly name?: string | undefined;
  readonly platform?: string | undefined;
  readonly force?: boolean | undefined;
  readonly level?: number | undefined;
  readonly base?: ConvertOptions['base'];
  /** Layers are taken from there instead of from the image. */
  readonly node?: NodePlace | undefined;
  readonly stores: StoreOptions;
  /** For the conversion index and packs that wait. */
  readonly cacheFolder: string;
  readonly signal: AbortSignal;
  readonly progress: Progress;
}

/** What became of one platform. */
export interface PlatformResult {
  readonly source: SourceImage;
  readonly listed: ListedManifest;
  /** Undefined if it was published already. */
  readonly converted: ConvertedImage | undefined;
}

export interface ThinifyResult {
  /** What the image is called in the store. */
  readonly destination: Destination;
  readonly store: string;
  readonly platforms: readonly PlatformResult[];
  /** Bytes of the original image that had to be pushed. */
  readonly originalBytes: number;
}

/** All of a conversion: opens source and store, converts each platform, publishes the tag last. */
export async function thinify(options: ThinifyOptions): Promise<ThinifyResult> {
  using spool = Spool.open(options.cacheFolder);
  using index = ConversionIndex.open(options.cacheFolder);
  try {
    return await thinifyWith(index, spool, options);
  } catch (error) {
    throw index.errorOf(error);
  }
}

async function thinifyWith(
  index: ConversionIndex,
  spool: Spool,
  options: ThinifyOptions,
): Promise<ThinifyResult> {
  const { image, to, name, stores, signal } = options;
  const { content, inRegistry } = await openImage(image, stores, spool, signal);
  await using _ = content;
  const destination = destinationOf({ own: content.name, inRegistry, to, name });
  await using opened = await openWritableStore(destination.location, stores, signal);
  const { store } = opened;
  const { repository, tag } = destination;
  const target = { store, place: placeOf(store, destination), repository, tag, index };
  const images = await chosenImages(content, options);
  const originalBytes = await bringOriginal(content, images, destination, options);
  const platforms: PlatformResult[] = [];
  for (const source of images) platforms.push(await takePlatform(source, target, spool, options));
  await publishTag(target, platforms, signal);
  return { destination, store: store.toString(), platforms, originalBytes };
}

/** Blobs can be brought over from one repository of a registry to another. */
function placeOf(store: Target['store'], { reference }: Destination): StorePlace {
  const { registry, repository } = reference;
  if (store.mountBlob) return { store: registry, repository };
  return { store: store.toString(), repository: '' };
}

async function chosenImages(
  content: ImageContent,
  { platform: wanted, node, progress, signal }: ThinifyOptions,
): Promise<SourceImage[]> {
  const note = (message: string) => progress.note(message);
  const platform = wanted ?? (node && formatPlatform(hostPlatform()));
  const images = await sourceImages(content, { platform, note, signal });
  return node ? images.map((image) => layersOnNode(image, node)) : images;
}

async function bringOriginal(
  content: ImageContent,
  images: readonly SourceImage[],
  { needsOriginal, reference }: Destination,
  { platform, stores, signal }: ThinifyOptions,
): Promise<number> {
  if (!needsOriginal) return 0;
  const [only] = images;
  const root = platform !== undefined && only ? only.manifest : await content.root(signal);
  const { pushOriginal } = await import('./push-original.js'); // it loads an HTTP client
  return await pushOriginal(content, root, reference, stores, signal);
}

async function takePlatform(
  source: SourceImage,
  target: Target,
  spool: Spool,
  options: ThinifyOptions,
): Promise<PlatformResult> {
  const { signal, progress, level, base } = options;
  if (!options.force) {
    const found = await publishedImage(target, source, signal);
    if (found) return { source, listed: found, converted: undefined };
  }
  const converted = await convertImage(source, target, {
    spool,
    level,
    base,
    signal,
    note: (message) => progress.note(message),
    onProgress: (job, done, total) => progress.update(job, done, total),
  });
  return { source, listed: converted.published, converted };
}

/** Nothing is written if the tag has them already. */
async function publishTag(
  target: Target,
  platforms: readonly PlatformResult[],
  signal: AbortSignal,
): Promise<void> {
  const { store, repository, tag } = target;
  if (tag === undefined) return;
  const listed = platforms.map((platform) => platform.listed);
  if (await isTagged(target, tag, listed, signal)) return;
  const images = platforms.map(({ source, listed }) => ({ listed, subject: source.digest }));
  await publishThinTag(store, repository, tag, images, signal);
}

async function isTagged(
  { store, repository }: Target,
  tag: string,
  listed: readonly ListedManifest[],
  signal: AbortSignal,
): Promise<boolean> {
  try {
    const tagged = await store.tagged(repository, tag, signal);
    return listed.every(({ digest }) => tagged.some((other) => other.digest === digest));
  } catch (error) {
    // A list that cannot be read is replaced.
    if (isThinError(error, 'corrupt', 'invalid')) return false;
    throw error;
  }
}
