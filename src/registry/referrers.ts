import { digestOf } from '../digest.js';
import { ThinError } from '../errors.js';
import type { ContentDigest } from '../image/content-digest.js';
import type { Descriptor } from '../image/descriptor.js';
import { type ImageIndex, parseManifest } from '../image/manifest.js';
import { mediaTypeOfHeader, mediaTypes } from '../image/media-type.js';
import { limits } from '../limits.js';
import type { HttpResponse } from './http-exchange.js';
import { failureOf, HttpFailure } from './http-failure.js';
import { pushManifest } from './manifest-writer.js';
import { listInTag, readTag } from './referrers-tag.js';
import { displayRepository, pullScope, type Repository, repositoryUrl } from './repository.js';
import { retrying } from './retry.js';

/** Pages of one list of referrers: registries make pages of 100 or more. */
const pagesMax = 20;
/** With these, registries say that they have no referrers API. */
const withoutApi: readonly number[] = [400, 404, 405, 406, 415, 501];
/** With these, that they have no such repository or image. */
const unknownCodes: readonly string[] = ['NAME_UNKNOWN', 'MANIFEST_UNKNOWN'];

/**
 * The manifests that name `digest` as their subject: by the referrers API, or, where a registry has
 * none, by the tag `sha256-<hex>`. Unverified: whoever may push can add one.
 * @param artifactType only those of this type; all if undefined
 * @throws ThinError `corrupt` if the answer is no list of manifests; otherwise as the registry says,
 *   after retries. No referrers is an empty list.
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#listing-referrers
 */
export async function readReferrers(
  repository: Repository,
  digest: ContentDigest,
  artifactType: string | undefined,
  signal: AbortSignal,
): Promise<Descriptor[]> {
  const found = await readByEither(repository, digest, artifactType, signal);
  if (artifactType === undefined) return [...found];
  return found.filter((descriptor) => descriptor.artifactType === artifactType);
}

/** By the API, else by the tag, which is asked for at the same time while it is not known which it is. */
async function readByEither(
  repository: Repository,
  digest: ContentDigest,
  artifactType: string | undefined,
  signal: AbortSignal,
): Promise<readonly Descriptor[]> {
  const { session } = repository;
  const byTag = async () => (await readTag(repository, digest, signal))?.index.manifests ?? [];
  if (session.referrersApi === 'absent') return byTag();
  const besides = session.referrersApi === 'unknown' ? byTag() : undefined;
  besides?.catch(() => {}); // looked at only without an API
  const found = await readByApi(repository, digest, artifactType, signal);
  if (found) session.referrersApi = 'present';
  return found ?? besides ?? byTag();
}

async function readByApi(
  repository: Repository,
  digest: ContentDigest,
  artifactType: string | undefined,
  signal: AbortSignal,
): Promise<Descriptor[] | undefined> {
  let url: URL | undefined = repositoryUrl(repository, `referrers/${digest}`);
  if (artifactType !== undefined) url.searchParams.set('artifactType', artifactType);
  const found: Descriptor[] = [];
  for (let page = 0; url && page < pagesMax; page += 1) {
    const answer = await readPage(repository, url, signal);
    if (!answer) return page === 0 ? undefined : found;
    found.push(...answer.index.manifests);
    url = answer.next;
  }
  return found;
}

async function readPage(
  repository: Repository,
  url: URL,
  signal: AbortSignal,
): Promise<{ index: ImageIndex; next: URL | undefined } | undefined> {
  const { session, name } = repository;
  const action = `Cannot list what refers to an image of ${displayRepository(repository)}`;
  const headers = { accept: mediaTypes.ociIndex };
  const request = { method: 'GET', url, headers, action, signal } as const;
  return retrying(session.patience, signal, async () => {
    const response = await session.request(request, [pullScope(name)], [200, ...withoutApi]);
    const type = mediaTypeOfHeader(response.header('content-type'));
    if (response.status !== 200 || (type !== undefined && type !== mediaTypes.ociIndex)) {
      // A web page for an unknown path is no referrers API either.
      if (!isOfUnknown(await failureOf(action, response))) session.referrersApi = 'absent';
      return undefined;
    }
    const index = indexOf(action, await response.bytes(limits.manifestBytesMax));
    return { index, next: nextPage(response) };
  });
}

/** Of what is not there: whether others have referrers is not said. */
function isOfUnknown({ cause }: ThinError): boolean {
  return cause instanceof HttpFailure && cause.codes.some((code) => unknownCodes.includes(code));
}

/** @see https://www.rfc-editor.org/rfc/rfc8288 */
function nextPage(response: HttpResponse): URL | undefined {
  const target = /^\s*<([^>]{1,4096})>\s*;\s*rel="?next"?/.exec(response.header('link') ?? '')?.[1];
  if (target === undefined || !URL.canParse(target, response.url.href)) return undefined;
  const next = new URL(target, response.url);
  return next.origin === response.url.origin ? next : undefined;
}

function indexOf(action: string, bytes: Buffer): ImageIndex {
  const read = parseManifest(bytes, mediaTypes.ociIndex);
  if (read.kind !== 'index') throw new ThinError('corrupt', `${action}: the answer is no index`);
  return read;
}

/**
 * Pushes a manifest that names a subject, and has it listed among the referrers of that: by the
 * registry, or, where it does not say that it did, in the tag `sha256-<hex>`.
 * @param replaces digests that the tag lists no more
 * @returns its descriptor as it is listed
 * @throws ThinError `invalid` if the manifest names no subject; `busy` if other writers of the tag
 *   win time and again; otherwise as the registry says, after retries.
 */
export async function pushReferrer(
  repository: Repository,
  bytes: Buffer,
  mediaType: string,
  signal: AbortSignal,
  replaces: readonly string[] = [],
): Promise<Descriptor> {
  const manifest = parseManifest(bytes, mediaType);
  const { subject, annotations } = manifest;
  if (!subject) {
    throw new ThinError(
      'invalid',
      `Cannot push referrer to ${displayRepository(repository)}: it names no subject`,
    );
  }
  const config = manifest.kind === 'manifest' ? manifest.config.mediaType : undefined;
  const artifactType = manifest.artifactType ?? config;
  const digest = digestOf(bytes);
  const { subjectListed } = await pushManifest(repository, digest, bytes, mediaType, signal);
  const descriptor: Descriptor = {
    mediaType,
    digest,
    size: bytes.length,
    ...(artifactType !== undefined && { artifactType }),
    ...(annotations && { annotations: { ...annotations } }),
  };
  if (!subjectListed) await listInTag(repository, subject.digest, descriptor, signal, replaces);
  return descriptor;
}
