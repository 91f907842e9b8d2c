import { LRUCache } from 'lru-cache';
import { ThinError } from '../errors.js';
import { onAbort } from './abort-listener.js';
import { type BearerToken, basicAuthorization, fetchBearerToken } from './bearer-token.js';
import { type Challenge, parseChallenges } from './challenge.js';
import type { CredentialSource } from './credentials.js';
import type { HttpRequest, HttpResponse } from './http-exchange.js';
import type { Transport } from './transport.js';

/** Tokens kept: one for each repository and kind of access. */
const tokensMax = 1000;

/**
 * Adds Authorization to a registry's requests. Learns the way from the first 401; keeps tokens for
 * their lifetime, renews them a little before its end, and once when a 401 says otherwise.
 */
export class Authorizer {
  readonly #transport: Transport;
  readonly #credentials: CredentialSource;
  /** Ends with the session: a token that several requests wait for belongs to none of them. */
  readonly #signal: AbortSignal;
  readonly #tokens = new LRUCache<string, BearerToken>({ max: tokensMax });
  readonly #pending = new Map<string, Promise<BearerToken>>();
  #challenge: Challenge | undefined;
  #basic: string | undefined;

  constructor(transport: Transport, credentials: CredentialSource, signal: AbortSignal) {
    this.#transport = transport;
    this.#credentials = credentials;
    this.#signal = signal;
  }

  /**
   * Sends `request` with what the registry wants to see.
   * @param scopes as `repository:<name>:pull,push`
   * @returns any answer, also 401 if the credentials are not enough
   * @throws ThinError `denied` if the registry wants what we cannot give.
   */
  async send(request: HttpRequest, scopes: readonly string[]): Promise<HttpResponse> {
    const { origin } = this.#transport.endpoint.base;
    if (request.url.origin !== origin) return this.#transport.send(request);
    const first = this.#challenge && (await this.#authorization(this.#challenge, scopes, request));
    const response = await this.#transport.send(request, first);
    if (response.status !== 401 || response.url.origin !== origin) return response;
    const challenge = choose(parseChallenges(response.headerValues('www-authenticate')));
    if (!challenge) return response;
    await response.discard();
    this.#challenge = challenge;
    this.#forget(first);
    const second = await this.#authorization(challenge, scopes, request);
    return this.#transport.send(request, second);
  }

  /** Drops what has just been refused; what another request has renewed meanwhile stays. */
  #forget(authorization: string | undefined): void {
    if (authorization === this.#basic) this.#basic = undefined;
    for (const [key, { token }] of this.#tokens.entries()) {
      if (authorization === `Bearer ${token}`) this.#tokens.delete(key);
    }
  }

  async #authorization(
    challenge: Challenge,
    scopes: readonly string[],
    { action, signal }: HttpRequest,
  ): Promise<string | undefined> {
    if (challenge.scheme === 'basic') {
      this.#basic ??= await this.#basicAuthorization(action, signal);
      return this.#basic;
    }
    const token = this.#token(challenge, scopes);
    return `Bearer ${(await unlessAborted(token, action, signal)).token}`;
  }

  async #token(challenge: Challenge, scopes: readonly string[]): Promise<BearerToken> {
    const realm = challenge.parameters.get('realm') ?? '';
    const service = challenge.parameters.get('service');
    const key = JSON.stringify([realm, service, scopes]);
    const kept = this.#tokens.get(key);
    if (kept && performance.now() < kept.renewAt) return kept;
    let pending = this.#pending.get(key);
    if (!pending) {
      pending = this.#newToken(realm, service, scopes).finally(() => this.#pending.delete(key));
      this.#pending.set(key, pending);
    }
    const token = await pending;
    this.#tokens.set(key, token);
    return token;
  }

  async #newToken(
    realm: string,
    service: string | undefined,
    scopes: readonly string[],
  ): Promise<BearerToken> {
    const signal = this.#signal;
    const credentials = await this.#credentials(signal);
    if (credentials && 'registryToken' in credentials) {
      return { token: credentials.registryToken, renewAt: Number.POSITIVE_INFINITY };
    }
    return fetchBearerToken(this.#transport, { realm, service, scopes, credentials, signal });
  }

  async #basicAuthorization(action: string, signal: AbortSignal): Promise<string> {
    const credentials = await this.#credentials(signal);
    const { registry } = this.#transport.endpoint;
    if (!credentials) {
      throw new ThinError(
        'denied',
        `${action}: ${registry} wants a login (wanted credentials: docker login ${registry}, or --username)`,
      );
    }
    if (!('username' in credentials)) {
      throw new ThinError(
        'denied',
        `${action}: ${registry} wants a user name and password, docker's configuration has a token`,
      );
    }
    return basicAuthorization(credentials);
  }
}

/** The challenge that we can meet: a token rather than the password itself. */
function choose(challenges: readonly Challenge[]): Challenge | undefined {
  return (
    challenges.find(({ scheme, parameters }) => scheme === 'bearer' && parameters.has('realm')) ??
    challenges.find(({ scheme }) => scheme === 'basic')
  );
}

/** Waits for what others wait for too; the waiting ends with `signal`, the work does not. */
async function unlessAborted<T>(work: Promise<T>, action: string, signal: AbortSignal): Promise<T> {
  let unlisten = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    unlisten = onAbort(signal, () =>
      reject(new ThinError('canceled', `${action}: canceled`, { cause: signal.reason })),
    );
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    unlisten();
  }
}
