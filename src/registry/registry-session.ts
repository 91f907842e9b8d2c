import { LRUCache } from 'lru-cache';
import { ThinError } from '../errors.js';
import { Authorizer } from './authorizer.js';
import { dockerCertificates, loadTlsContexts } from './certificates.js';
import type { CredentialSource } from './credentials.js';
import { dockerConfigFolder, dockerCredentials } from './credentials.js';
import { type Endpoint, endpointOf } from './endpoint.js';
import type { HttpRequest, HttpResponse } from './http-exchange.js';
import { failureOf } from './http-failure.js';
import { defaultPatience, type Patience } from './patience.js';
import { Transport } from './transport.js';

/** Who we are for a registry. `docker`: what docker's configuration has for it, else anonymous. */
export type CredentialChoice =
  | 'docker'
  | 'anonymous'
  | { readonly username: string; readonly password: string };

export interface SessionOptions {
  /** Host and optional port as in an image reference: `docker.io`, `localhost:5000`. */
  readonly registry: string;
  /** Default: `docker`. */
  readonly credentials?: CredentialChoice | undefined;
  /** Folder of docker's `config.json`. Default: `$DOCKER_CONFIG`, else `~/.docker`. */
  readonly dockerConfig?: string | undefined;
  /** Default: true for localhost, 127.0.0.0/8 and ::1 without `ca`, else false. */
  readonly plainHttp?: boolean | undefined;
  /** Path of a PEM file with authorities to trust besides the usual ones. */
  readonly ca?: string | undefined;
  /** Folder with authorities by `<host>[:<port>]`. Default: `/etc/docker/certs.d`. */
  readonly certificates?: string | undefined;
  readonly patience?: Partial<Patience> | undefined;
}

/** Blobs whose place behind a redirect is remembered. */
const locationsMax = 4096;

/** What the repositories of one registry share: connections, credentials, tokens, what it can do. */
export class RegistrySession implements AsyncDisposable {
  readonly endpoint: Endpoint;
  readonly patience: Patience;
  readonly transport: Transport;
  /** By repository and digest: where the registry has sent us for a blob, while that lasts. */
  readonly locations = new LRUCache<string, URL>({ max: locationsMax });
  /** It has ignored a range, or refused one of what it has: until then (`performance.now()`) skip in whole blobs. */
  noRangesUntil = 0;
  /** Whether it lists what refers to a manifest, or leaves that to a tag. */
  referrersApi: 'unknown' | 'present' | 'absent' = 'unknown';
  /** It has refused an upload in pieces: send whole blobs. */
  piecesRefused = false;
  readonly #authorizer: Authorizer;
  readonly #lifetime: AbortController;

  private constructor(transport: Transport, patience: Patience, credentials: CredentialSource) {
    this.transport = transport;
    this.endpoint = transport.endpoint;
    this.patience = patience;
    this.#lifetime = new AbortController();
    this.#authorizer = new Authorizer(transport, credentials, this.#lifetime.signal);
  }

  /**
   * Reads certificates; talks to nobody yet.
   * @throws ThinError `invalid` if the registry is no host or a certificate is unusable.
   */
  static async open(options: SessionOptions): Promise<RegistrySession> {
    const { registry, ca, certificates = dockerCertificates } = options;
    // Who names an authority wants TLS, on this machine too.
    const plainHttp = options.plainHttp ?? (ca === undefined ? undefined : false);
    const endpoint = endpointOf(registry, plainHttp);
    const patience = { ...defaultPatience, ...options.patience };
    const usesTls = endpoint.base.protocol === 'https:';
    const tls = usesTls ? await loadTlsContexts(registry, { ca, folder: certificates }) : undefined;
    const transport = new Transport(endpoint, tls, patience);
    return new RegistrySession(transport, patience, credentialSource(options));
  }

  /**
   * One authorized request, not retried.
   * @param scopes as `repository:<name>:pull`
   * @returns an answer of any status
   */
  send(request: HttpRequest, scopes: readonly string[]): Promise<HttpResponse> {
    return this.#authorizer.send(request, scopes);
  }

  /**
   * The same for those who want only some answers.
   * @param expected statuses that are no failure
   * @throws ThinError by the status otherwise, with the body consumed
   */
  async request(
    request: HttpRequest,
    scopes: readonly string[],
    expected: readonly number[],
  ): Promise<HttpResponse> {
    const response = await this.send(request, scopes);
    if (expected.includes(response.status)) return response;
    throw await failureOf(request.action, response);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#lifetime.abort(
      new ThinError('canceled', `Closed the session with ${this.endpoint.registry}`),
    );
    await this.transport[Symbol.asyncDispose]();
  }
}

function credentialSource({
  registry,
  credentials = 'docker',
  dockerConfig,
}: SessionOptions): CredentialSource {
  if (credentials === 'anonymous') return async () => undefined;
  if (credentials !== 'docker') return async () => credentials;
  const folder = dockerConfig ?? dockerConfigFolder();
  return (signal) => dockerCredentials(folder, registry, signal);
}
