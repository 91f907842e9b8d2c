import { type Digest, digestOf } from '../src/digest.js';
import { ThinError } from '../src/errors.js';
import type { ContentDigest } from '../src/image/content-digest.js';
import type { Descriptor, Platform } from '../src/image/descriptor.js';
import { imageLayers, parseImageConfig } from '../src/image/image-config.js';
import { listManifests } from '../src/image/image-list.js';
import { type Manifest, parseManifest } from '../src/image/manifest.js';
import { formatPlatform, parsePlatform, selectPlatform } from '../src/image/platform.js';
import type { LayerProgress, LayerSummary } from '../src/layer/read-layer.js';
import type { TarEvent } from '../src/layer/tar-event.js';
import { limits } from '../src/limits.js';
import { onceMore } from '../src/once-more.js';
import { collect } from '../src/store/byte-stream.js';
import { checkContent, type ImageContent, type ImageDocument } from './image-content.js';

export interface SourceLayer {
  readonly descriptor: Descriptor;
  readonly diffId: ContentDigest;
  /** The layer's bytes as they are stored, from the start. */
  open(signal: AbortSignal): AsyncIterable<Buffer>;
  /**
   * What is in it, where that is known without its bytes; verified as `readLayer` does. The bytes of an
   * event are valid until the next events are asked for.
   */
  readonly events?: (
    signal: AbortSignal,
    onProgress: (progress: LayerProgress) => void,
  ) => AsyncGenerator<TarEvent[], LayerSummary>;
}

/** One platform's image, to be converted. */
export interface SourceImage {
  readonly digest: Digest;
  readonly manifest: { readonly bytes: Buffer; readonly mediaType: string };
  readonly platform: Platform;
  readonly config: Buffer;
  /** Lowest first. */
  readonly layers: readonly SourceLayer[];
}

export interface ImageChoice {
  /** `os/architecture[/variant]`; all platforms if absent. */
  readonly platform?: string | undefined;
  readonly note: (message: string) => void;
  readonly signal: AbortSignal;
}

/**
 * The images that are meant: one for a manifest, one for each platform of an index.
 * @throws ThinError `not-found` if there is none for the platform; `corrupt`, `invalid`
 */
export async function sourceImages(
  content: ImageContent,
  choice: ImageChoice,
): Promise<SourceImage[]> {
  const { signal } = choice;
  const root = await content.root(signal);
  const parsed = parseManifest(root.bytes, root.mediaType);
  if (parsed.kind === 'manifest') {
    const image = await readImage(content, root, parsed, undefined, signal);
    if (choice.platform !== undefined) checkPlatform(image, choice.platform);
    return [image];
  }
  const listed = await listManifests(parsed, async (descriptor) => {
    const nested = await content.document(descriptor, signal);
    return parseManifest(nested.bytes, nested.mediaType);
  });
  const images: SourceImage[] = [];
  for (const descriptor of chosen(listed, choice)) {
    const document = await content.document(descriptor, signal);
    const manifest = parseManifest(document.bytes, document.mediaType);
    if (manifest.kind === 'index') throw corrupt(content, 'an index is listed as a manifest');
    images.push(await readImage(content, document, manifest, descriptor.platform, signal));
  }
  return images;
}

function chosen(listed: readonly Descriptor[], { platform, note }: ImageChoice): Descriptor[] {
  if (platform !== undefined) return [selectPlatform(listed, parsePlatform(platform))];
  const images = listed.filter((descriptor) => isImage(descriptor));
  const others = listed.length - images.length;
  if (others > 0) note(`skipped ${others} manifests that are no images (attestations, say)`);
  if (images.length > 0) return images;
  throw new ThinError('not-found', 'Cannot convert image: its index lists no image');
}

function isImage({ artifactType, platform }: Descriptor): boolean {
  return artifactType === undefined && platform?.os !== 'unknown';
}

function checkPlatform({ platform }: SourceImage, wanted: string): void {
  if (formatPlatform(platform) === formatPlatform(parsePlatform(wanted))) return;
  throw new ThinError(
    'not-found',
    `Cannot use image on ${wanted}: it is for ${formatPlatform(platform)} only`,
  );
}

async function readImage(
  content: ImageContent,
  document: ImageDocument,
  manifest: Manifest,
  listedPlatform: Platform | undefined,
  signal: AbortSignal,
): Promise<SourceImage> {
  if (manifest.artifactType !== undefined) {
    throw new ThinError(
      'invalid',
      `Cannot convert ${content}: it is an artifact of type ${manifest.artifactType}, not an image`,
    );
  }
  const config = await readConfig(content, manifest.config, signal);
  const parsed = parseImageConfig(config);
  const layers = imageLayers(manifest, parsed).map(({ descriptor, diffId }) => ({
    descriptor,
    diffId,
    open: (opened: AbortSignal) => content.open(descriptor, 0, opened),
  }));
  const { os, architecture, variant } = parsed;
  const own = { os, architecture, ...(variant !== undefined && { variant }) };
  return {
    digest: digestOf(document.bytes),
    manifest: { bytes: document.bytes, mediaType: manifest.mediaType },
    platform: listedPlatform ?? own,
    config,
    layers,
  };
}

async function readConfig(
  content: ImageContent,
  descriptor: Descriptor,
  signal: AbortSignal,
): Promise<Buffer> {
  const { size } = descriptor;
  if (size > limits.manifestBytesMax) {
    throw corrupt(content, `its config has ${size} bytes (wanted ${limits.manifestBytesMax})`);
  }
  const what = `config of ${content}`;
  return await onceMore(async () => {
    const bytes = await collect(content.open(descriptor, 0, signal), size, what);
    checkContent(what, descriptor, bytes);
    return bytes;
  });
}

function corrupt(content: ImageContent, what: string): ThinError {
  return new ThinError('corrupt', `Cannot read ${content}: ${what}`);
}
