import { type Digest, digestOf } from '../digest.js';
import { ThinError } from '../errors.js';
import { isContentDigest } from '../image/content-digest.js';
import { isTag } from '../image/reference.js';
import { displayRepository, pushScope, type Repository, repositoryUrl } from './repository.js';
import { retrying } from './retry.js';

export interface PushedManifest {
  readonly digest: Digest;
  /** The registry lists it among the referrers of its subject by itself. */
  readonly subjectListed: boolean;
}

/**
 * Pushes a manifest or index under a tag, or under its digest alone.
 * @throws ThinError `invalid` if `target` is neither a tag nor the digest of `bytes`; `corrupt` if
 *   the registry has understood another digest; otherwise as the registry says, after retries.
 */
export async function pushManifest(
  repository: Repository,
  target: string,
  bytes: Buffer,
  mediaType: string,
  signal: AbortSignal,
): Promise<PushedManifest> {
  const { session, name } = repository;
  const digest = digestOf(bytes);
  const action = `Cannot push manifest ${target.slice(0, 150)} to ${displayRepository(repository)}`;
  if (!isTag(target) && target !== digest) {
    const problem = isContentDigest(target) ? `its digest is ${digest}` : 'that is no tag';
    throw new ThinError('invalid', `${action}: ${problem} (wanted a tag, or its digest)`);
  }
  const url = repositoryUrl(repository, `manifests/${target}`);
  const headers = { 'content-type': mediaType };
  const request = { method: 'PUT', url, headers, body: bytes, action, signal } as const;
  return retrying(session.patience, signal, async () => {
    const response = await session.request(request, [pushScope(name)], [200, 201, 202]);
    await response.discard();
    const told = response.header('docker-content-digest');
    if (told?.startsWith('sha256:') && told !== digest) {
      throw new ThinError(
        'corrupt',
        `${action}: the registry calls it ${told.slice(0, 80)} (wanted ${digest})`,
      );
    }
    return { digest, subjectListed: response.header('oci-subject') !== undefined };
  });
}
