import { createSign, randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { cleanUp } from './clean-up.js';
import { makeCertificate } from './docker-registry.js';
import { type HostileServer, type Received, startHostile } from './hostile-http.js';

export interface TokenServer {
  /** For `startRegistry(t, { token })`. */
  readonly registryOptions: {
    readonly realm: string;
    readonly service: string;
    readonly issuer: string;
    readonly rootCertificate: string;
  };
  readonly server: HostileServer;
}

/** Who may do what: gives the actions allowed of those asked for, undefined to refuse the login. */
export type Allow = (
  login: { username?: string; password?: string; refreshToken?: string },
  scope: { name: string; actions: readonly string[] },
) => readonly string[] | undefined;

/**
 * A token server that a real docker-registry trusts (ES256, certificate in the token).
 * @param lifeSeconds of each token
 * @see https://distribution.github.io/distribution/spec/auth/jwt/
 */
export async function startTokenServer(
  t: Test,
  allow: Allow,
  lifeSeconds = 300,
): Promise<TokenServer> {
  const folder = mkdtempSync(join(tmpdir(), 'thinfs-test-tokens-'));
  cleanUp(t, () => rmSync(folder, { recursive: true, force: true }));
  const { ca, certificate, key } = makeCertificate(folder);
  const service = 'thinfs-test';
  const issuer = 'thinfs-test-issuer';
  const header = {
    typ: 'JWT',
    alg: 'ES256',
    x5c: [readFileSync(certificate, 'utf8').replace(/-----[A-Z ]+-----|\s/g, '')],
  };
  const privateKey = readFileSync(key);

  const server = await startHostile(t, (request) => {
    const access = grant(request, allow);
    if (!access) return { status: 401 };
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      iss: issuer,
      sub: 'test',
      aud: service,
      iat: now,
      nbf: now - 10,
      exp: now + Math.max(lifeSeconds, 1),
      jti: randomUUID(),
      access,
    };
    const signed = [header, claims].map(encode).join('.');
    const signature = createSign('sha256')
      .update(signed)
      .sign({ key: privateKey, dsaEncoding: 'ieee-p1363' })
      .toString('base64url');
    const answer = { token: `${signed}.${signature}`, expires_in: lifeSeconds };
    return { status: 200, body: JSON.stringify(answer) };
  });
  const realm = `${server.origin}/token`;
  return { server, registryOptions: { realm, service, issuer, rootCertificate: ca } };
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

function grant({ method, path, headers, body }: Received, allow: Allow): object[] | undefined {
  const query = new URL(path, 'http://token').searchParams;
  const form = new URLSearchParams(method === 'POST' ? body.toString() : '');
  const [username, password] = Buffer.from(
    headers.authorization?.replace('Basic ', '') ?? '',
    'base64',
  )
    .toString()
    .split(':');
  const refreshToken = form.get('refresh_token');
  const login = {
    ...(username && { username }),
    ...(password && { password }),
    ...(refreshToken && { refreshToken }),
  };
  const asked = [...query.getAll('scope'), ...(form.get('scope')?.split(' ') ?? [])];
  const access: object[] = [];
  for (const scope of asked) {
    const [type = '', name = '', actions = ''] = scope.split(':');
    const granted = allow(login, { name, actions: actions.split(',') });
    if (!granted) return undefined;
    access.push({ type, name, actions: granted });
  }
  return access;
}
