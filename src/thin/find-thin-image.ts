import { type Digest, isDigest } from '../digest.js';
import { isThinError, ThinError } from '../errors.js';
import type { Descriptor, Platform } from '../image/descriptor.js';
import { inlinedContent } from '../image/inlined-content.js';
import { selectPlatform } from '../image/platform.js';
import { limits } from '../limits.js';
import { parseThinDescriptor, type ThinDescriptor } from './descriptor.js';
import { hotArtifactType } from './hot-manifest.js';
import type { Blob, ListedManifest, ThinImageSource } from './image-store.js';
import { checkLayers, parseThinManifest, thinArtifactType } from './thin-manifest.js';
import { readWhole } from './wire-blob.js';

/** Thin manifests of one image that are looked at: more are somebody's mistake or malice. */
const candidatesMax = 8;

export interface WantedImage {
  /** Registry host and repository: `localhost:5000/library/python`. */
  readonly repository: string;
  readonly tag?: string | undefined;
  /** Of the original image's manifest for the platform; undefined if nothing but the tag is known. */
  readonly manifest?: Digest | undefined;
  readonly platform: Platform;
  /** The manifests beside the original one in its index, if it has one. */
  readonly siblings?: readonly Descriptor[] | undefined;
  /** What the tag lists, if that was asked already: then it is looked at before the referrers. */
  readonly tagged?: readonly ListedManifest[] | undefined;
}

export interface FoundThinImage {
  /** The thin manifest. */
  readonly manifest: Blob;
  readonly descriptor: ThinDescriptor;
  /** As they came: their digest is what the thin manifest names. */
  readonly descriptorBytes: Buffer;
  /** Hot manifests that are listed beside it; claims. */
  readonly hot: readonly ListedManifest[];
}

/**
 * Finds the thin image that stands in for an image: a thin manifest in the same index, then the
 * original manifest's referrers, then what was published for the tag. The descriptor must name the
 * manifest that is wanted; every step is verified against the one before it.
 * @returns undefined if nobody published one
 * @throws ThinError of the first candidate, or list, if there were some and none could be used
 */
export async function findThinImage(
  store: ThinImageSource,
  wanted: WantedImage,
  signal: AbortSignal,
): Promise<FoundThinImage | undefined> {
  let looked = 0;
  let problem: ThinError | undefined;
  /** An outage is not the candidate's, or the list's: another answer than the right one must not come of it. */
  const passOver = (error: unknown) => {
    if (!isThinError(error, 'corrupt', 'invalid', 'not-found')) throw error;
    problem ??= error;
  };
  const hot: ListedManifest[] = [];
  for await (const candidate of candidates(store, wanted, hot, signal, passOver)) {
    if (looked >= candidatesMax) break;
    looked += 1;
    try {
      const found = await readCandidate(store, candidate, wanted, signal);
      if (found) return { ...found, hot };
    } catch (error) {
      passOver(error);
    }
  }
  if (problem) throw problem;
  return undefined;
}

/**
 * From the nearest to the farthest; what comes later costs a request and is asked for when needed.
 * @param passOver given why a list cannot be read
 */
async function* candidates(
  store: ThinImageSource,
  { repository, tag, manifest, platform, siblings = [], tagged }: WantedImage,
  hot: ListedManifest[],
  signal: AbortSignal,
  passOver: (error: unknown) => void,
): AsyncGenerator<ListedManifest> {
  const readable = async (list: Promise<ListedManifest[]>) => (await list.catch(passOver)) ?? [];
  yield* ofPlatform(siblings.filter(isThin), platform);
  if (tagged) {
    hot.push(...ofPlatform(tagged.filter(isHot), platform));
    yield* ofPlatform(tagged.filter(isThin), platform);
  }
  if (manifest !== undefined) {
    const listed = await readable(store.referrers(repository, manifest, undefined, signal));
    hot.push(...listed.filter(isHot));
    yield* listed.filter(isThin);
  }
  if (tag !== undefined && !tagged) {
    const listed = await readable(store.tagged(repository, tag, signal));
    hot.push(...ofPlatform(listed.filter(isHot), platform));
    yield* ofPlatform(listed.filter(isThin), platform);
  }
}

function isHot(listed: Descriptor): listed is ListedManifest {
  return listed.artifactType === hotArtifactType && isDigest(listed.digest);
}

function isThin(listed: Descriptor): listed is ListedManifest {
  return listed.artifactType === thinArtifactType && isDigest(listed.digest);
}

/** Those for the same platform that an image would be chosen for. */
function ofPlatform(listed: readonly ListedManifest[], platform: Platform): ListedManifest[] {
  const images = listed.map(({ artifactType: _, ...image }) => image);
  try {
    const chosen = selectPlatform(images, platform);
    return listed.filter((_, index) => images[index] === chosen);
  } catch (error) {
    if (isThinError(error, 'not-found')) return [];
    throw error;
  }
}

/** @returns undefined if it stands in for another image: of a tag that has moved since, say. */
async function readCandidate(
  store: ThinImageSource,
  candidate: ListedManifest,
  wanted: WantedImage,
  signal: AbortSignal,
): Promise<Omit<FoundThinImage, 'hot'> | undefined> {
  checkSize('thin manifest', candidate, limits.manifestBytesMax);
  const bytes = inlinedContent(candidate) ?? (await store.readManifest(candidate, signal));
  const manifest = parseThinManifest(bytes);
  const subject = manifest.subject.digest;
  if (wanted.manifest !== undefined && wanted.manifest !== subject) return undefined;
  checkSize('thin descriptor', manifest.descriptor, limits.descriptorBytesMax);
  const descriptorBytes =
    inlinedContent(manifest.descriptor) ?? (await readWhole(store, manifest.descriptor, signal));
  const descriptor = parseThinDescriptor(descriptorBytes);
  checkSubject(descriptor.image.manifest.digest, subject);
  checkLayers(manifest, descriptor);
  const { digest, size } = candidate;
  return { manifest: { digest, size }, descriptor, descriptorBytes };
}

function checkSubject(subject: Digest, wanted: Digest): void {
  if (subject === wanted) return;
  throw new ThinError(
    'corrupt',
    `Cannot use thin image: its descriptor is of the manifest ${subject} (wanted ${wanted})`,
  );
}

function checkSize(what: string, blob: Blob, bytesMax: number): void {
  if (blob.size <= bytesMax) return;
  throw new ThinError(
    'corrupt',
    `Cannot read ${what} ${blob.digest}: ${blob.size} bytes (wanted at most ${bytesMax})`,
  );
}
