import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { isThinError, ThinError } from '../errors.js';
import type { ContentDigest } from '../image/content-digest.js';
import type { Descriptor } from '../image/descriptor.js';
import { type ImageIndex, parseManifest } from '../image/manifest.js';
import { mediaTypes } from '../image/media-type.js';
import { readManifest } from './manifest-reader.js';
import { pushManifest } from './manifest-writer.js';
import { displayRepository, type Repository } from './repository.js';

/** Rounds in which to win against others who write the same tag. */
const roundsMax = 8;
/** Refusals of the list that are taken for one of a race. */
const refusalsMax = 3;
/** Milliseconds, about, after which the tag is read again: a racing writer has put his by then. */
const settleMs = 100;

/**
 * The list that stands in for the referrers API.
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#referrers-tag-schema
 */
interface TaggedList {
  readonly index: ImageIndex;
  readonly bytes: Buffer;
}

/** `sha256-<hex>`; of longer digests the first 64 digits. */
export function referrersTag(digest: ContentDigest): string {
  const [algorithm = '', hex = ''] = digest.split(':');
  return `${algorithm}-${hex.slice(0, 64)}`;
}

/**
 * @returns undefined if there is no such tag
 * @throws ThinError `corrupt` if the tag is something else than a list.
 */
export async function readTag(
  repository: Repository,
  subject: ContentDigest,
  signal: AbortSignal,
): Promise<TaggedList | undefined> {
  const tag = referrersTag(subject);
  try {
    const { bytes, mediaType } = await readManifest(repository, tag, signal);
    const index = parseManifest(bytes, mediaType);
    if (index.kind === 'index') return { index, bytes };
  } catch (error) {
    if (isThinError(error, 'not-found')) return undefined;
    throw error;
  }
  throw new ThinError(
    'corrupt',
    `Cannot use tag ${tag} of ${displayRepository(repository)}: it is an image (wanted a list of referrers)`,
  );
}

/**
 * Adds `descriptor` to the list unless it is there, in place of those in `replaces`. The protocol has no compare-and-swap: of two
 * writers who read the same list the first loses its entry, so each looks again after a moment and
 * repeats.
 * @throws ThinError `busy` if others win time and again.
 */
export async function listInTag(
  repository: Repository,
  subject: ContentDigest,
  descriptor: Descriptor,
  signal: AbortSignal,
  replaces: readonly string[] = [],
): Promise<void> {
  const tag = referrersTag(subject);
  for (let round = 0; ; round += 1) {
    const list = await readTag(repository, subject, signal);
    if (list?.index.manifests.some(({ digest }) => digest === descriptor.digest)) return;
    if (round === roundsMax) break;
    const extended = withEntry(list, descriptor, replaces);
    try {
      await pushManifest(repository, tag, extended, mediaTypes.ociIndex, signal);
    } catch (error) {
      // What another writer is just putting there, a registry may find half written, and refuse to list.
      if (!isThinError(error, 'invalid') || round >= refusalsMax) throw error;
    }
    await delay(settleMs * (0.5 + Math.random()), undefined, { signal });
  }
  throw new ThinError(
    'busy',
    `Cannot list ${descriptor.digest} in tag ${tag} of ${displayRepository(repository)}: others overwrite it`,
  );
}

/** Entries of others stay as they are, with fields that we do not know. */
const foreignIndexSchema = z.looseObject({ manifests: z.array(z.looseObject({})) });

function withEntry(
  list: TaggedList | undefined,
  descriptor: Descriptor,
  replaces: readonly string[],
): Buffer {
  const index = list
    ? foreignIndexSchema.parse(JSON.parse(list.bytes.toString('utf8')))
    : { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [] };
  const kept = index.manifests.filter(({ digest }) => !replaces.includes(`${digest}`));
  const extended = { ...index, manifests: [...kept, descriptor] };
  return Buffer.from(JSON.stringify(extended));
}
