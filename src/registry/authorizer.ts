import { LRUCache } from 'lru-cache';
import { ThinError } from '../errors.js';
import { onAbort } from './abort-listener.js';
import { basicAuthorization, fetchBearerToken } from './bearer-token.js';
import { type Challenge, parseChallenges } from './challenge.js';
import type { CredentialSource } from './credentials.js';
import type { HttpRequest, HttpResponse } from './http-exchange.js';
import type { Transport } from './transport.js';

/** Authorizations kept: one for each repository and kind of access. */
const keptMax = 1000;

/** The value of an Authorization header, and until when it is good. */
interface Authorization {
  readonly header: string;
  /** On the clock of `performance.now()`. */
  readonly renewAt: number;
}

/**
 * Adds Authorization to a registry's requests. Learns the way from the first 401; keeps tokens for
 * their lifetime, renews them a little before its end, and once when a 401 says otherwise.
 */
export class Authorizer {
  readonly #transport: Transport;
  readonly #credentials: CredentialSource;
  /** Ends with the session: a token that several requests wait for belongs to none of them. */
  readonly #signal: AbortSignal;
  readonly #kept = new LRUCache<string, Authorization>({ max: keptMax });
  readonly #pending = new Map<string, Promise<Authorization>>();
  #challenge: Challenge | undefined;

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
    const { action, signal } = request;
    const answer = (challenge: Challenge): Promise<Authorization> =>
      unlessAborted(this.#authorization(challenge, scopes), action, signal);

    const first = this.#challenge && (await answer(this.#challenge));
    const response = await this.#transport.send(request, first?.header);
    if (response.status !== 401 || response.url.origin !== origin) return response;
    const challenge = choose(parseChallenges(response.headerValues('www-authenticate')));
    if (!challenge) return response;
    await response.discard();
    if (first) this.#forget(first);
    const second = await answer(challenge);
    this.#challenge = challenge; // of one that cannot be met, what is asked next knows nothing
    return this.#transport.send(request, second.header);
  }

  /** Drops what has just been refused; what another request has renewed meanwhile stays. */
  #forget({ header }: Authorization): void {
    for (const [key, kept] of this.#kept.entries()) {
      if (kept.header === header) this.#kept.delete(key);
    }
  }

  /** From what is kept, else made once for all who want the same. */
  async #authorization(challenge: Challenge, scopes: readonly string[]): Promise<Authorization> {
    const realm = challenge.parameters.get('realm') ?? '';
    const service = challenge.parameters.get('service');
    const isBasic = challenge.scheme === 'basic';
    const key = isBasic ? 'basic' : JSON.stringify([realm, service, scopes]);
    const kept = this.#kept.get(key);
    if (kept && performance.now() < kept.renewAt) return kept;
    let pending = this.#pending.get(key);
    if (!pending) {
      const made = isBasic ? this.#basic() : this.#bearer(realm, service, scopes);
      pending = made.finally(() => this.#pending.delete(key));
      this.#pending.set(key, pending);
    }
    const authorization = await pending;
    this.#kept.set(key, authorization);
    return authorization;
  }

  async #bearer(
    realm: string,
    service: string | undefined,
    scopes: readonly string[],
  ): Promise<Authorization> {
    const signal = this.#signal;
    const credentials = await this.#credentials(signal);
    if (credentials && 'registryToken' in credentials) {
      return { header: `Bearer ${credentials.registryToken}`, renewAt: Number.POSITIVE_INFINITY };
    }
    const request = { realm, service, scopes, credentials, signal };
    const { token, renewAt } = await fetchBearerToken(this.#transport, request);
    return { header: `Bearer ${token}`, renewAt };
  }

  async #basic(): Promise<Authorization> {
    const credentials = await this.#credentials(this.#signal);
    const { registry } = this.#transport.endpoint;
    if (!credentials || !('username' in credentials)) {
      const problem = credentials ? 'it takes no token' : 'it wants a login';
      throw new ThinError(
        'denied',
        `Cannot log in to ${registry}: ${problem} (wanted a user name and password: docker login ${registry}, or --username)`,
      );
    }
    return { header: basicAuthorization(credentials), renewAt: Number.POSITIVE_INFINITY };
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
