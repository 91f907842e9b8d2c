import type { ContentDigest } from '../image/content-digest.js';
import { type BlobSource, BlobUpload, type UploadOptions } from './blob-upload.js';
import type { HttpRequest, HttpResponse } from './http-exchange.js';
import { resolveLocation } from './redirect.js';
import {
  displayRepository,
  pullScope,
  pushScope,
  type Repository,
  repositoryUrl,
} from './repository.js';
import { Backoff, retrying } from './retry.js';

/**
 * The size in bytes of a blob that the registry has (NaN if it does not say), undefined if it has
 * none.
 * @param scope the access to ask for: a repository that one pushes to may not exist yet
 */
export async function statBlob(
  repository: Repository,
  digest: ContentDigest,
  scope: string,
  signal: AbortSignal,
): Promise<number | undefined> {
  const { session } = repository;
  const action = `Cannot look for blob ${digest} in ${displayRepository(repository)}`;
  const url = repositoryUrl(repository, `blobs/${digest}`);
  const request: HttpRequest = { method: 'HEAD', url, action, signal };
  return retrying(session.patience, signal, async () => {
    const response = await session.request(request, [scope], [200, 404]);
    await response.discard();
    return response.status === 404 ? undefined : Number(response.header('content-length'));
  });
}

/**
 * Pushes a blob unless the registry has it. Large blobs go in pieces, each sent again if it fails,
 * from where the registry stands; the whole goes in one request where it refuses pieces. The registry
 * verifies the digest at the end: a blob is there whole or not at all.
 * @returns whether anything had to be sent
 * @throws ThinError `denied`, `no-space`, `unavailable` as the registry says, after retries; and what
 *   the source throws.
 */
export async function pushBlob(
  repository: Repository,
  source: BlobSource,
  options: UploadOptions,
): Promise<boolean> {
  if (await isPresent(repository, source, options.signal)) return false;
  const upload = new BlobUpload(repository, source, options);
  const backoff = new Backoff(repository.session.patience);
  for (let furthest = 0; ; ) {
    try {
      await upload.run();
      return true;
    } catch (error) {
      if (upload.offset > furthest) backoff.reset();
      furthest = Math.max(furthest, upload.offset);
      const failure = upload.judge(error);
      if (failure === undefined) continue;
      await backoff.wait(failure, options.signal);
      // the answer may have been all that was lost
      if (await isPresent(repository, source, options.signal)) return true;
    }
  }
}

async function isPresent(
  repository: Repository,
  { digest, size }: BlobSource,
  signal: AbortSignal,
): Promise<boolean> {
  const present = await statBlob(repository, digest, pushScope(repository.name), signal);
  return present !== undefined && (present === size || Number.isNaN(present));
}

/**
 * Asks the registry to take a blob over from another of its repositories.
 * @returns false if it does not; then the blob must be pushed
 */
export async function mountBlob(
  repository: Repository,
  digest: ContentDigest,
  from: string,
  signal: AbortSignal,
): Promise<boolean> {
  const { session, name } = repository;
  const action = `Cannot mount blob ${digest} of ${from} in ${displayRepository(repository)}`;
  const url = repositoryUrl(repository, 'blobs/uploads/');
  url.searchParams.set('mount', digest);
  url.searchParams.set('from', from);
  const scopes = [pushScope(name), pullScope(from)];
  const request: HttpRequest = { method: 'POST', url, action, signal };
  return retrying(session.patience, signal, async () => {
    const response = await session.request(request, scopes, [201, 202]);
    await response.discard();
    if (response.status === 202) await cancelUpload(repository, request, response);
    return response.status === 201;
  });
}

/** The registry has begun an upload in place of the mount, and would keep it for days. */
async function cancelUpload(
  repository: Repository,
  { action, signal }: HttpRequest,
  begun: HttpResponse,
): Promise<void> {
  const url = resolveLocation(action, begun.url, begun.header('location'));
  const request: HttpRequest = { method: 'DELETE', url, action, signal };
  const response = await repository.session.send(request, [pushScope(repository.name)]);
  await response.discard(); // of any status: this is a courtesy
}
