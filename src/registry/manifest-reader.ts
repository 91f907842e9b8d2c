import { type Digest, digestOf } from '../digest.js';
import { ThinError } from '../errors.js';
import { hasherFor, isContentDigest, isDigestOf } from '../image/content-digest.js';
import type { Descriptor } from '../image/descriptor.js';
import { indexMediaTypes, manifestMediaTypes, mediaTypeOfHeader } from '../image/media-type.js';
import { isTag } from '../image/reference.js';
import { limits } from '../limits.js';
import { onceMore } from '../once-more.js';
import type { HttpRequest, HttpResponse } from './http-exchange.js';
import { displayRepository, pullScope, type Repository, repositoryUrl } from './repository.js';
import { retrying } from './retry.js';

/** A manifest or index as the registry has it; `parseManifest(bytes, mediaType)` reads it. */
export interface RawManifest {
  readonly bytes: Buffer;
  /** From Content-Type, else from the descriptor; undefined if neither says anything. */
  readonly mediaType: string | undefined;
  /** Of `bytes`, computed by us. */
  readonly digest: Digest;
}

/** A tag, a digest, or what another document says about a manifest. */
export type ManifestTarget = string | Descriptor;

/**
 * Fetches a manifest and verifies it against everything that is known about it: the digest that was
 * asked for, the descriptor, the registry's own digest header.
 * @throws ThinError `corrupt` if something disagrees or it is larger than 4 MiB; `invalid` if
 *   `target` is neither tag nor digest; `not-found`, `denied`, `unavailable` after retries.
 */
export async function readManifest(
  repository: Repository,
  target: ManifestTarget,
  signal: AbortSignal,
): Promise<RawManifest> {
  const { session } = repository;
  const request = manifestRequest('GET', repository, target, signal);
  const read = async (): Promise<RawManifest> => {
    const response = await session.request(request, [pullScope(repository.name)], [200]);
    const mediaType = mediaTypeOfHeader(response.header('content-type'));
    const bytes = await response.bytes(limits.manifestBytesMax);
    const manifest = { bytes, mediaType, digest: digestOf(bytes) };
    checkBytes(request.action, bytes, digestsOf(target, response));
    return typeof target === 'string' ? manifest : agreeing(request.action, manifest, target);
  };
  return onceMore(() => retrying(session.patience, signal, read));
}

/**
 * What a tag or digest is, without fetching it if the registry's headers say enough. Not verified:
 * {@link readManifest} of the result is.
 * @throws as {@link readManifest}
 */
export async function resolveManifest(
  repository: Repository,
  target: string,
  signal: AbortSignal,
): Promise<Descriptor> {
  const { session } = repository;
  const request = manifestRequest('HEAD', repository, target, signal);
  const described = await retrying(session.patience, signal, async () => {
    const response = await session.request(request, [pullScope(repository.name)], [200, 405, 501]);
    await response.discard();
    return response.status === 200 ? describe(request.action, response, target) : undefined;
  });
  if (described) return described;
  const { bytes, mediaType, digest } = await readManifest(repository, target, signal);
  if (mediaType === undefined) {
    throw new ThinError('corrupt', `${request.action}: the registry names no media type`);
  }
  return { mediaType, digest, size: bytes.length };
}

function describe(action: string, response: HttpResponse, target: string): Descriptor | undefined {
  const mediaType = mediaTypeOfHeader(response.header('content-type'));
  const digest = response.header('docker-content-digest') ?? '';
  const length = response.header('content-length') ?? '';
  if (mediaType === undefined || !isContentDigest(digest) || !/^[0-9]{1,10}$/.test(length)) {
    return undefined;
  }
  if (isContentDigest(target) && target !== digest) throw wrongDigest(action, digest);
  return { mediaType, digest, size: Number(length) };
}

function manifestRequest(
  method: 'GET' | 'HEAD',
  repository: Repository,
  target: ManifestTarget,
  signal: AbortSignal,
): HttpRequest {
  const name = typeof target === 'string' ? target : target.digest;
  const action = `Cannot read manifest ${name.slice(0, 150)} of ${displayRepository(repository)}`;
  if (!isTag(name) && !isContentDigest(name)) {
    throw new ThinError('invalid', `${action}: wanted a tag or a digest`);
  }
  const accept = [...manifestMediaTypes, ...indexMediaTypes].join(', ');
  const url = repositoryUrl(repository, `manifests/${name}`);
  return { method, url, headers: { accept }, action, signal };
}

function digestsOf(target: ManifestTarget, response: HttpResponse): string[] {
  const asked = typeof target === 'string' ? target : target.digest;
  const told = response.header('docker-content-digest');
  return [asked, ...(told === undefined ? [] : [told])].filter((text) => text.includes(':'));
}

/** All of `digests`, also those in an algorithm that is not ours. */
function checkBytes(action: string, bytes: Buffer, digests: readonly string[]): void {
  for (const digest of digests) {
    if (!isContentDigest(digest)) {
      throw new ThinError('corrupt', `${action}: the registry's digest header is malformed`);
    }
    const hasher = hasherFor(digest).update(bytes);
    if (!isDigestOf(digest, hasher)) throw wrongDigest(action, digestOf(bytes), digest);
  }
}

function agreeing(action: string, manifest: RawManifest, wanted: Descriptor): RawManifest {
  const { bytes, mediaType = wanted.mediaType } = manifest;
  if (bytes.length !== wanted.size) {
    throw new ThinError(
      'corrupt',
      `${action}: it has ${bytes.length} bytes (wanted ${wanted.size}, as its descriptor says)`,
    );
  }
  if (mediaType !== wanted.mediaType) {
    throw new ThinError(
      'corrupt',
      `${action}: it comes as ${JSON.stringify(mediaType.slice(0, 100))} (wanted ${wanted.mediaType}, as its descriptor says)`,
    );
  }
  return { ...manifest, mediaType };
}

function wrongDigest(action: string, found: string, wanted = 'the one asked for'): ThinError {
  return new ThinError('corrupt', `${action}: its digest is ${found} (wanted ${wanted})`);
}
