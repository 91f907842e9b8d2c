import { parseDigest } from '../src/digest.js';
import { ThinError } from '../src/errors.js';
import type { Platform } from '../src/image/descriptor.js';
import { formatPlatform, hostPlatform, parsePlatform } from '../src/image/platform.js';
import { type ImageReference, parseReference, repositoryOf } from '../src/image/reference.js';
import { openStore, type StoreOptions } from '../src/store/open-store.js';
import type { Store } from '../src/store/store.js';
import {
  type FoundThinImage,
  findThinImage,
  type WantedImage,
} from '../src/thin/find-thin-image.js';
import { thinArtifactType } from '../src/thin/thin-manifest.js';
import { sourceImages } from './source-image.js';

export interface PublishedOptions {
  /** Name of the image: a registry reference. */
  readonly image: string;
  /** The store, if it is not the image's own repository. */
  readonly from?: string | undefined;
  readonly platform?: string | undefined;
  readonly stores: StoreOptions;
  readonly signal: AbortSignal;
}

export interface PublishedImages extends AsyncDisposable {
  readonly store: Store;
  /** One for each platform, at least one. */
  readonly images: readonly FoundThinImage[];
}

/**
 * Opens the thin images of a name: those of the original's platforms, or what another store has for
 * the tag. A digest is that of the manifest of one platform there, as an index is not kept.
 * @throws ThinError `not-found` if a platform has none
 */
export async function publishedImages(options: PublishedOptions): Promise<PublishedImages> {
  const { image, from, stores, signal } = options;
  const reference = parseReference(image);
  const opened = await openStore(from ?? repositoryOf(reference), stores, signal);
  try {
    const { store } = opened;
    const wanted = await wantedImages(store, reference, options);
    const images: FoundThinImage[] = [];
    for (const one of wanted) images.push(await find(store, one, image, signal));
    if (images.length === 0) throw nothing(store, image);
    return { store, images, [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose]() };
  } catch (error) {
    await opened[Symbol.asyncDispose]();
    throw error;
  }
}

async function wantedImages(
  store: Store,
  reference: ImageReference,
  { from, platform, stores, signal }: PublishedOptions,
): Promise<WantedImage[]> {
  const repository = repositoryOf(reference);
  const { tag, digest } = reference;
  if (from === undefined) {
    const { registryContent } = await import('./registry-content.js'); // it loads an HTTP client
    await using content = await registryContent(reference, stores.registry ?? {});
    const images = await sourceImages(content, { platform, note: () => undefined, signal });
    return images.map(({ digest, platform: own }) => ({
      repository,
      tag,
      manifest: digest,
      platform: own,
    }));
  }
  const chosen = platform === undefined ? undefined : parsePlatform(platform);
  if (digest !== undefined) {
    const manifest = parseDigest(digest);
    return [{ repository, tag, manifest, platform: chosen ?? hostPlatform() }];
  }
  if (chosen) return [{ repository, tag, platform: chosen }];
  const listed = tag === undefined ? [] : await store.tagged(repository, tag, signal);
  const thin = listed.filter(({ artifactType }) => artifactType === thinArtifactType);
  const platforms = thin.map((one) => one.platform).filter((one): one is Platform => !!one);
  return platforms.map((own) => ({ repository, tag, platform: own }));
}

async function find(
  store: Store,
  wanted: WantedImage,
  image: string,
  signal: AbortSignal,
): Promise<FoundThinImage> {
  const found = await findThinImage(store, wanted, signal);
  if (found) return found;
  throw nothing(store, `${image} for ${formatPlatform(wanted.platform)}`);
}

function nothing(store: Store, image: string): ThinError {
  return new ThinError('not-found', `Cannot find thin image of ${image}: ${store} has none`);
}
