import { isThinError, ThinError } from '../errors.js';
import { hasherFor, isDigestOf } from '../image/content-digest.js';
import type { Descriptor } from '../image/descriptor.js';
import { type BlobPart, bytesBefore, isWhole } from './blob-part.js';
import type { HttpRequest, HttpResponse } from './http-exchange.js';
import { failureOf, statusOf } from './http-failure.js';
import { locationLifeMs } from './location-life.js';
import { displayRepository, pullScope, type Repository, repositoryUrl } from './repository.js';
import { Backoff } from './retry.js';

export interface BlobRange {
  /** Bytes. Default: 0 */
  readonly offset?: number | undefined;
  /** Bytes. Default: to the end */
  readonly length?: number | undefined;
  /** The caller tries again by itself: no retries here. */
  readonly once?: boolean | undefined;
  /** The caller compares the digest: the whole is not hashed here as well. */
  readonly hashedByCaller?: boolean | undefined;
  readonly signal: AbortSignal;
}

/** Bytes by which a download must advance before its failures are counted anew. */
const resumeProgressMin = 256 * 1024;
/** Milliseconds for which a registry is believed that it knows no ranges: whole blobs are dear. */
const noRangesMs = 10 * 60_000;

/**
 * A blob, or a part of it, as it comes. A download that breaks goes on where it was. A whole blob is
 * verified, unless its reader does: the stream throws instead of ending if the digest is wrong. A part
 * is not; its reader must know digests of its own.
 * @throws ThinError `invalid` for a range outside the blob; `corrupt` for wrong bytes, lengths or
 *   ranges; `not-found`, `denied`, `unavailable` as the registry says, after retries.
 */
export async function* readBlob(
  repository: Repository,
  { digest, size }: Pick<Descriptor, 'digest' | 'size'>,
  { offset = 0, length = size - offset, once = false, hashedByCaller, signal }: BlobRange,
): AsyncGenerator<Buffer, void> {
  const action = `Cannot read blob ${digest} of ${displayRepository(repository)}`;
  const end = offset + length;
  if (
    ![offset, length, end].every(Number.isSafeInteger) ||
    offset < 0 ||
    length < 0 ||
    end > size
  ) {
    throw new ThinError(
      'invalid',
      `${action}: bytes ${offset} to ${end} are outside of its ${size}`,
    );
  }
  const hasher = length === size && !hashedByCaller ? hasherFor(digest) : undefined;
  const backoff = new Backoff(repository.session.patience);
  let position = offset;
  let resumedAt = offset;
  let refused = 0;
  let rangeRefused = false;
  while (position < end) {
    const part = { start: position, end, size };
    const request = partRequest(repository, digest, part, !rangeRefused);
    try {
      for await (const bytes of readPart(repository, { ...request, action, signal })) {
        hasher?.update(bytes);
        position += bytes.length;
        yield bytes;
      }
      if (position < end) {
        throw new ThinError(
          'unavailable',
          `${action}: it ended after ${position} bytes (wanted ${end})`,
        );
      }
    } catch (error) {
      const advanced = position - resumedAt;
      if (advanced >= resumeProgressMin) backoff.reset();
      resumedAt = position;
      if (request.ranged && rangeRefusals.includes(statusOf(error) ?? 0)) {
        rangeRefused = true;
        continue;
      }
      if (once) throw error;
      // An answer that was no part of the blob, before any of it was handed on.
      if (isThinError(error, 'corrupt') && advanced === 0 && refused++ === 0) continue;
      await backoff.wait(error, signal);
    }
  }
  // Only now: 416 is also the right answer where the registry has less of the blob than there should be.
  if (rangeRefused) forgoRanges(repository);
  if (hasher && !isDigestOf(digest, hasher)) {
    throw new ThinError('corrupt', `${action}: its bytes have another digest`);
  }
}

/** Not 400, which is also what a signed URL that has expired is answered with. */
const rangeRefusals: readonly number[] = [416, 501];

/** For a while the registry is asked for whole blobs. */
function forgoRanges({ session }: Repository): void {
  session.noRangesUntil = performance.now() + noRangesMs;
}

interface PartRequest extends HttpRequest {
  readonly part: BlobPart;
  readonly ranged: boolean;
  /** Of the blob's place in {@link RegistrySession.locations}. */
  readonly key: string;
}

function partRequest(
  repository: Repository,
  digest: string,
  part: BlobPart,
  mayRange: boolean,
): Omit<PartRequest, 'action' | 'signal'> {
  const knowsRanges = performance.now() >= repository.session.noRangesUntil;
  const ranged = mayRange && knowsRanges && !isWhole(part);
  return {
    method: 'GET',
    url: repositoryUrl(repository, `blobs/${digest}`),
    headers: ranged ? { range: `bytes=${part.start}-${part.end - 1}` } : {},
    part,
    ranged,
    key: `${repository.name}@${digest}`,
  };
}

/** One answer's worth of a blob: what it brings belongs there, but it may end too early. */
async function* readPart(
  repository: Repository,
  request: PartRequest,
): AsyncGenerator<Buffer, void> {
  const { part, action } = request;
  const response = await openPart(repository, request);
  if (request.ranged && response.status === 200) forgoRanges(repository);
  // a server that ignores ranges: its stream is used from where the part begins to where it ends
  let skip = response.before;
  let left = part.end - part.start;
  const goesOn = response.status === 200 && part.end < part.size;
  for await (const bytes of response.chunks()) {
    const useful = bytes.subarray(skip);
    skip -= bytes.length - useful.length;
    if (useful.length > left && !goesOn) {
      throw new ThinError('corrupt', `${action}: more bytes come than was asked for`);
    }
    const taken = useful.subarray(0, left);
    left -= taken.length;
    if (taken.length > 0) yield taken;
    if (left === 0 && goesOn) return; // closes the connection: what follows may be gigabytes
  }
}

async function openPart(
  repository: Repository,
  request: PartRequest,
): Promise<HttpResponse & { before: number }> {
  const response =
    (await askKnownPlace(repository, request)) ?? (await askRegistry(repository, request));
  try {
    const before = bytesBefore(request.action, response, request.part, request.ranged);
    return { ...response, before };
  } catch (error) {
    await response.discard();
    throw error;
  }
}

const contentStatuses: readonly number[] = [200, 206];
/** With these an object store refuses a signed URL that has expired. */
const expiredStatuses: readonly number[] = [400, 401, 403, 404, 410];

/** Asks where the registry has sent us for this blob before: one round trip less. */
async function askKnownPlace(
  { session }: Repository,
  request: PartRequest,
): Promise<HttpResponse | undefined> {
  const url = session.locations.get(request.key);
  if (!url) return undefined;
  try {
    const response = await session.transport.send({ ...request, url });
    if (contentStatuses.includes(response.status)) return response;
    await response.discard();
  } catch (error) {
    session.locations.delete(request.key);
    throw error;
  }
  session.locations.delete(request.key);
  return undefined;
}

async function askRegistry(repository: Repository, request: PartRequest): Promise<HttpResponse> {
  const { session, name } = repository;
  const { origin } = session.endpoint.base;
  const ask = (): Promise<HttpResponse> => session.send(request, [pullScope(name)]);
  let response = await ask();
  if (response.url.origin !== origin && expiredStatuses.includes(response.status)) {
    await response.discard(); // the URL was too old when we used it: the registry makes a new one
    response = await ask();
  }
  if (!contentStatuses.includes(response.status)) throw await failureOf(request.action, response);
  if (response.url.origin !== origin) {
    const ttl = locationLifeMs(response.url, Date.now());
    session.locations.set(request.key, response.url, { ttl });
  }
  return response;
}
