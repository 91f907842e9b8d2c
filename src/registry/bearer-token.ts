import { z } from 'zod';
import { ThinError } from '../errors.js';
import type { Credentials } from './credentials.js';
import { type Endpoint, isLoopbackHost } from './endpoint.js';
import type { HttpRequest } from './http-exchange.js';
import { displayUrl, failureOf } from './http-failure.js';
import type { Transport } from './transport.js';

/** Bytes of one token: servers limit all headers of a request to 8 to 64 KiB. */
const tokenLengthMax = 64 * 1024;
/** Bytes of a token server's answer: the token, perhaps twice, and a refresh token. */
const answerBytesMax = 256 * 1024;
/** Seconds that a token lives if its server does not say. */
const defaultLifetime = 60;
/** A token is renewed when a tenth of its life is left, but no earlier than this, in ms. */
const renewalMarginMaxMs = 30_000;
/** Names us to token servers that keep statistics. */
const clientId = 'thinfs';

export interface BearerToken {
  readonly token: string;
  /** On the clock of `performance.now()`, which nobody sets back. */
  readonly renewAt: number;
}

export interface TokenRequest {
  readonly realm: string;
  readonly service: string | undefined;
  readonly scopes: readonly string[];
  readonly credentials: Credentials | undefined;
  readonly signal: AbortSignal;
}

const answerSchema = z.object({
  token: z.string().optional(),
  access_token: z.string().optional(),
  expires_in: z.number().nonnegative().optional(),
});

/**
 * Gets a token from the server that a registry's challenge names.
 * @throws ThinError `denied` if the server refuses, or must not be told the credentials; `corrupt`
 *   if its answer is no token.
 * @see https://distribution.github.io/distribution/spec/auth/token/
 */
export async function fetchBearerToken(
  transport: Transport,
  request: TokenRequest,
): Promise<BearerToken> {
  const realm = checkRealm(request.realm, transport.endpoint, request.credentials !== undefined);
  const action = `Cannot get a token for ${transport.endpoint.registry} from ${displayUrl(realm)}`;
  const { authorization, ...http } = tokenRequest(realm, request);
  const response = await transport.sendOnce(
    { ...http, action, signal: request.signal },
    authorization,
  );
  if (response.status !== 200) throw await failureOf(action, response);
  const bytes = await response.bytes(answerBytesMax);
  return readToken(action, bytes);
}

/**
 * Where a token may be asked for: never over plain HTTP if the registry is on HTTPS; and with
 * credentials only over HTTPS or at the registry's own host.
 * @throws ThinError `denied` if `realm` is another place.
 */
export function checkRealm(realm: string, endpoint: Endpoint, hasCredentials: boolean): URL {
  const refuse = (problem: string): never => {
    throw new ThinError(
      'denied',
      `Cannot log in to ${endpoint.registry}: its token server ${problem}`,
    );
  };
  if (!URL.canParse(realm)) refuse('has a malformed URL');
  const url = new URL(realm);
  if (url.protocol !== 'https:' && url.protocol !== 'http:')
    refuse(`is at ${url.protocol} (wanted https:)`);
  if (url.username !== '' || url.password !== '') refuse('has a user name in its URL');
  if (url.protocol === 'https:') return url;
  if (endpoint.base.protocol === 'https:') {
    refuse(`${displayUrl(url)} is on plain HTTP (wanted HTTPS, as the registry)`);
  }
  if (hasCredentials && !isSameSite(url, endpoint.base)) {
    refuse(`${displayUrl(url)} is another host on plain HTTP (wanted HTTPS, or no credentials)`);
  }
  return url;
}

function isSameSite(a: URL, b: URL): boolean {
  return a.hostname === b.hostname || (isLoopbackHost(a.hostname) && isLoopbackHost(b.hostname));
}

type SignedRequest = Pick<HttpRequest, 'method' | 'url' | 'headers' | 'body'> & {
  readonly authorization?: string;
};

function tokenRequest(realm: URL, { service, scopes, credentials }: TokenRequest): SignedRequest {
  if (credentials && 'identityToken' in credentials) {
    const form = new URLSearchParams({
      grant_type: 'refresh_token',
      refresh_token: credentials.identityToken,
      client_id: clientId,
      scope: scopes.join(' '),
      ...(service !== undefined && { service }),
    });
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    return { method: 'POST', url: realm, headers, body: Buffer.from(form.toString()) };
  }
  const url = new URL(realm);
  if (service !== undefined) url.searchParams.set('service', service);
  for (const scope of scopes) url.searchParams.append('scope', scope);
  if (!credentials || !('username' in credentials)) return { method: 'GET', url };
  url.searchParams.set('account', credentials.username);
  return { method: 'GET', url, authorization: basicAuthorization(credentials) };
}

export function basicAuthorization({
  username,
  password,
}: {
  username: string;
  password: string;
}): string {
  return `Basic ${Buffer.from(`${username}:${password}`, 'utf8').toString('base64')}`;
}

function readToken(action: string, bytes: Buffer): BearerToken {
  const refuse = (problem: string): never => {
    throw new ThinError('corrupt', `${action}: ${problem}`);
  };
  const answer = parseAnswer(bytes);
  const token = answer?.token ?? answer?.access_token;
  if (answer === undefined || token === undefined || token === '') {
    return refuse('the answer holds no token');
  }
  if (token.length > tokenLengthMax) {
    refuse(`the token has ${token.length} bytes (wanted at most ${tokenLengthMax})`);
  }
  if (!/^[\x21-\x7e]+$/.test(token)) refuse('the token has characters that no header can carry');
  const lifeMs = (answer.expires_in || defaultLifetime) * 1000;
  return { token, renewAt: performance.now() + lifeMs - Math.min(lifeMs / 10, renewalMarginMaxMs) };
}

function parseAnswer(bytes: Buffer): z.infer<typeof answerSchema> | undefined {
  try {
    return answerSchema.safeParse(JSON.parse(bytes.toString('utf8'))).data;
  } catch {
    return undefined;
  }
}
