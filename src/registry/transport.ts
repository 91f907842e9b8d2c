import { lookup } from 'node:dns';
import { lookup as lookupAll } from 'node:dns/promises';
import { isIP, type LookupFunction } from 'node:net';
import type { SecureContext } from 'node:tls';
import type { Dispatcher } from 'undici';
import { ThinError } from '../errors.js';
import { Agent, Pool } from '../http-client.js';
import type { TlsContexts } from './certificates.js';
import { type Endpoint, isLocalAddress } from './endpoint.js';
import { exchange, type HttpRequest, type HttpResponse } from './http-exchange.js';
import { displayUrl } from './http-failure.js';
import type { Patience } from './patience.js';
import { isRedirect, resolveLocation } from './redirect.js';

/** Redirects of one request: registry, load balancer, object store, its region; one to spare. */
const redirectsMax = 5;
/** Connections to one host; further requests wait for one, within the deadline for their answer. */
const connectionsMax = 64;
/** Milliseconds that an idle connection is kept; load balancers drop theirs after 60 s. */
const keepAliveMs = 30_000;

/**
 * Requests to a registry and to where it sends us, over kept connections. Knows whom to trust with
 * what: Authorization and client certificates go to the registry's own origin only, and hosts that a
 * registry names may not be this machine or its link, unless the registry itself is there.
 */
export class Transport implements AsyncDisposable {
  readonly endpoint: Endpoint;
  readonly #patience: Patience;
  readonly #own: Pool;
  readonly #foreign: Agent;
  readonly #guarded: Agent;
  readonly #inFlight = new Set<AbortController>();
  #registryIsLocal: Promise<boolean> | undefined;

  constructor(endpoint: Endpoint, tls: TlsContexts | undefined, patience: Patience) {
    this.endpoint = endpoint;
    this.#patience = patience;
    this.#own = new Pool(endpoint.base.origin, poolOptions(patience, tls?.own));
    this.#foreign = new Agent(poolOptions(patience, tls?.foreign));
    this.#guarded = new Agent(poolOptions(patience, tls?.foreign, lookupRemote));
  }

  /**
   * Sends, and follows redirects of GET and HEAD.
   * @param authorization header value; goes to the registry's origin only
   * @throws ThinError `denied` for a redirect that must not be followed, `corrupt` for a body in a
   *   Content-Encoding (we ask for none: digests and ranges are of the bytes as they are), and what
   *   {@link exchange} throws.
   */
  async send(request: HttpRequest, authorization?: string): Promise<HttpResponse> {
    const follows = request.method === 'GET' || request.method === 'HEAD';
    let { url } = request;
    let secret = authorization;
    for (let hops = 0; ; hops += 1) {
      if (url.origin !== this.endpoint.base.origin) secret = undefined; // for all further hops
      const response = await this.sendOnce({ ...request, url }, secret);
      if (!follows || !isRedirect(response.status)) return response;
      await response.discard();
      if (hops === redirectsMax) {
        throw new ThinError(
          'denied',
          `${request.action}: more than ${redirectsMax} redirects, the last to ${displayUrl(url)}`,
        );
      }
      url = resolveLocation(request.action, url, response.header('location'));
    }
  }

  /** Sends without following redirects: for requests whose target must be what was asked for. */
  async sendOnce(request: HttpRequest, authorization?: string): Promise<HttpResponse> {
    const dispatcher = await this.#dispatcherFor(request);
    const connections = { dispatcher, patience: this.#patience, inFlight: this.#inFlight };
    const headers = { ...request.headers, ...(authorization !== undefined && { authorization }) };
    const response = await exchange(connections, { ...request, headers });
    const encoding = response.header('content-encoding') ?? 'identity';
    if (encoding !== 'identity' && response.status < 300) {
      await response.discard();
      throw new ThinError(
        'corrupt',
        `${request.action}: ${request.url.host} answers in Content-Encoding ${JSON.stringify(encoding.slice(0, 40))} (wanted none)`,
      );
    }
    return response;
  }

  /** Ends what is under way with `canceled`. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { registry } = this.endpoint;
    const reason = new ThinError('canceled', `Cannot go on with ${registry}: the client is closed`);
    for (const abort of this.#inFlight) abort.abort(reason); // agents forget pools that still send
    await Promise.all([this.#guarded.destroy(), this.#foreign.destroy(), this.#own.destroy()]);
  }

  async #dispatcherFor({ url, action }: HttpRequest): Promise<Dispatcher> {
    if (url.origin === this.endpoint.base.origin) return this.#own;
    if (await this.#isRegistryLocal()) return this.#foreign;
    const literal = url.hostname.replace(/^\[|\]$/g, '');
    if (isIP(literal) !== 0 && isLocalAddress(literal)) throw localAddress(action, url.hostname);
    return this.#guarded;
  }

  /** False if its name cannot be looked up now, which is asked again: the guarded way is the safe one. */
  #isRegistryLocal(): Promise<boolean> {
    this.#registryIsLocal ??= isLocal(this.endpoint.base.hostname);
    return this.#registryIsLocal.catch(() => {
      this.#registryIsLocal = undefined;
      return false;
    });
  }
}

function poolOptions(
  patience: Patience,
  tls?: SecureContext,
  resolve?: LookupFunction,
): Pool.Options {
  return {
    connections: connectionsMax,
    keepAliveTimeout: keepAliveMs,
    connect: {
      timeout: patience.connectMs,
      ...(tls && { secureContext: tls }),
      ...(resolve && { lookup: resolve }),
    },
  };
}

/** DNS for hosts that a registry names: the check and the connection see the same answer. */
const lookupRemote: LookupFunction = (hostname, options, callback) => {
  lookup(hostname, { ...options, all: true }, (error, addresses) => {
    const local = error === null && addresses.some(({ address }) => isLocalAddress(address));
    const refusal = local ? localAddress('Cannot connect', hostname) : error;
    if (options.all) return callback(refusal, addresses);
    const [first] = addresses ?? [];
    callback(refusal, first?.address ?? '', first?.family);
  });
};

/** @throws NodeJS.ErrnoException if DNS does not answer */
async function isLocal(hostname: string): Promise<boolean> {
  const addresses = await lookupAll(hostname.replace(/^\[|\]$/g, ''), { all: true });
  return addresses.every(({ address }) => isLocalAddress(address));
}

function localAddress(action: string, hostname: string): ThinError {
  return new ThinError(
    'denied',
    `${action}: the registry sends us to ${hostname}, an address of this machine or its link (wanted another host)`,
  );
}
