import { ThinError } from '../errors.js';
import type { ContentDigest } from '../image/content-digest.js';
import type { HttpRequest, HttpResponse, StreamBody } from './http-exchange.js';
import { statusOf } from './http-failure.js';
import { resolveLocation } from './redirect.js';
import { displayRepository, pushScope, type Repository, repositoryUrl } from './repository.js';

/** A blob to push. */
export interface BlobSource {
  readonly digest: ContentDigest;
  /** Bytes. */
  readonly size: number;
  /** Its bytes from `offset` to the end, or further than needed; called for each piece and try. */
  readonly open: (offset: number) => AsyncIterable<Buffer>;
}

export interface UploadOptions {
  readonly signal: AbortSignal;
  /** Told how many bytes of the blob the network has taken; goes back when some are sent again. */
  readonly onProgress?: ((sent: number) => void) | undefined;
  /** Bytes that are sent with one request, and again if it fails. Default: 64 MiB */
  readonly pieceBytes?: number | undefined;
}

const defaultPieceBytes = 64 * 1024 * 1024;
/** With these, registries refuse uploads in pieces as such. */
const pieceRefusals: readonly number[] = [400, 405, 411, 415, 416, 501];
/** With these, that they know nothing of this upload, or stand elsewhere. */
const lostStatuses: readonly number[] = [400, 404, 416];

/**
 * One blob on its way to a registry. Nothing is begun (no location), or an upload is open at
 * `#location` and the registry has confirmed `offset` bytes.
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pushing-blobs
 */
export class BlobUpload {
  readonly #repository: Repository;
  readonly #source: BlobSource;
  readonly #options: UploadOptions;
  readonly #action: string;
  #location: URL | undefined;
  #pieceBytes: number;
  #way: 'whole' | 'pieces' = 'whole';
  #offset = 0;

  constructor(repository: Repository, source: BlobSource, options: UploadOptions) {
    this.#repository = repository;
    this.#source = source;
    this.#options = options;
    this.#action = `Cannot push blob ${source.digest} to ${displayRepository(repository)}`;
    this.#pieceBytes = options.pieceBytes ?? defaultPieceBytes;
  }

  /** Bytes that the registry has confirmed. */
  get offset(): number {
    return this.#offset;
  }

  /** Goes on from where the registry stands, to the end. */
  async run(): Promise<void> {
    const resumed = this.#location !== undefined && (await this.#resume(this.#location));
    const location = resumed || (await this.#begin());
    await (this.#goesInPieces() ? this.#sendPieces(location) : this.#sendWhole(location));
  }

  /**
   * What a failure of {@link run} means for the next: undefined to run again at once, else the error
   * that decides whether to try again.
   */
  judge(error: unknown): unknown {
    const status = statusOf(error) ?? 0;
    if (this.#way === 'pieces' && this.#offset === 0 && pieceRefusals.includes(status)) {
      this.#repository.session.piecesRefused = true;
      this.#location = undefined;
      return undefined;
    }
    if (this.#way === 'whole') this.#location = undefined;
    if (!this.#location || !lostStatuses.includes(status)) return error;
    this.#location = undefined;
    return new ThinError('unavailable', `${this.#action}: the registry has lost the upload`, {
      cause: error,
    });
  }

  async #begin(): Promise<URL> {
    const url = repositoryUrl(this.#repository, 'blobs/uploads/');
    const response = await this.#send({ method: 'POST', url }, [202]);
    const pieceMin = response.header('oci-chunk-min-length') ?? '';
    if (/^[0-9]{1,12}$/.test(pieceMin)) {
      this.#pieceBytes = Math.max(this.#pieceBytes, Number(pieceMin));
    }
    this.#offset = 0;
    return this.#locationIn(response);
  }

  /** Asks where the upload stands; undefined if the registry knows nothing of it. */
  async #resume(location: URL): Promise<URL | undefined> {
    const response = await this.#send({ method: 'GET', url: location }, [204, ...lostStatuses]);
    const confirmed = confirmedBytes(response);
    if (response.status !== 204 || confirmed === undefined || confirmed > this.#source.size) {
      return undefined;
    }
    this.#offset = confirmed;
    return this.#locationIn(response);
  }

  #goesInPieces(): boolean {
    const { size } = this.#source;
    const inPieces = size > this.#pieceBytes && !this.#repository.session.piecesRefused;
    this.#way = inPieces ? 'pieces' : 'whole';
    return inPieces;
  }

  async #sendPieces(location: URL): Promise<void> {
    let at = location;
    while (this.#offset < this.#source.size) {
      this.#location = at; // where to ask after a failure
      at = await this.#sendPiece(at);
    }
    this.#location = at;
    await this.#commit(at, Buffer.alloc(0));
  }

  #sendWhole(location: URL): Promise<void> {
    return this.#commit(location, this.#body(0, this.#source.size));
  }

  async #sendPiece(location: URL): Promise<URL> {
    const start = this.#offset;
    const length = Math.min(this.#pieceBytes, this.#source.size - start);
    const headers = {
      'content-type': 'application/octet-stream',
      'content-range': `${start}-${start + length - 1}`,
    };
    const body = this.#body(start, length);
    const response = await this.#send({ method: 'PATCH', url: location, headers, body }, [202]);
    const confirmed = confirmedBytes(response) ?? start + length;
    if (confirmed <= start || confirmed > start + length) {
      throw new ThinError(
        'unavailable',
        `${this.#action}: the registry confirms ${confirmed} bytes (wanted ${start + length})`,
      );
    }
    this.#offset = confirmed;
    return this.#locationIn(response);
  }

  /** Ends the upload; the registry hashes what it has and answers then. */
  async #commit(location: URL, body: Buffer | StreamBody): Promise<void> {
    const { digest } = this.#source;
    const url = new URL(location);
    url.search += `${url.search === '' ? '?' : '&'}digest=${encodeURIComponent(digest)}`;
    const headers = { 'content-type': 'application/octet-stream' };
    const { commitMs: answerMs } = this.#repository.session.patience;
    await this.#send({ method: 'PUT', url, headers, body, answerMs }, [200, 201, 204]);
  }

  #body(start: number, length: number): StreamBody {
    const { open } = this.#source;
    const { onProgress } = this.#options;
    const action = this.#action;
    return {
      length,
      async *open() {
        let left = length;
        for await (const bytes of open(start)) {
          const taken = bytes.subarray(0, left);
          left -= taken.length;
          yield taken;
          onProgress?.(start + length - left);
          if (left === 0) return;
        }
        if (left > 0)
          throw new ThinError('invalid', `${action}: its source ended ${left} bytes too early`);
      },
    };
  }

  async #send(
    request: Omit<HttpRequest, 'action' | 'signal'>,
    expected: readonly number[],
  ): Promise<HttpResponse> {
    const { session, name } = this.#repository;
    const complete = { ...request, action: this.#action, signal: this.#options.signal };
    const response = await session.request(complete, [pushScope(name)], expected);
    await response.discard();
    return response;
  }

  #locationIn(response: HttpResponse): URL {
    return resolveLocation(this.#action, response.url, response.header('location'));
  }
}

/** The Range header of an open upload: `0-<last byte>`; with nothing sent registries say `0-0`. */
function confirmedBytes(response: HttpResponse): number | undefined {
  const last = /^(?:bytes=)?0-([0-9]{1,16})$/.exec(response.header('range') ?? '')?.[1];
  if (last === undefined) return undefined;
  return last === '0' ? 0 : Number(last) + 1;
}
