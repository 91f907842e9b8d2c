import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import t, { type Test } from 'tap';
import { digestOf } from '../../src/digest.js';
import { RegistryClient, type RegistryOptions } from '../../src/registry/registry-client.js';
import { startRegistry } from '../support/docker-registry.js';
import { startHostile } from '../support/hostile-http.js';
import { startTokenServer } from '../support/token-server.js';

const { signal } = new AbortController();
const username = 'alice';
const password = 'pass:word ünd more';
const blob = Buffer.from('a blob');
const patience = { attemptsMax: 2, backoffMs: 1 };

async function open(
  t: Test,
  registry: string,
  options: Partial<RegistryOptions>,
): Promise<RegistryClient> {
  const client = await RegistryClient.open({
    registry,
    repository: 'team/app',
    patience,
    ...options,
  });
  t.teardown(() => client[Symbol.asyncDispose]());
  return client;
}

function push(client: RegistryClient, bytes = blob): Promise<boolean> {
  return client.pushBlob(
    { digest: digestOf(bytes), size: bytes.length },
    () => iterate(bytes),
    signal,
  );
}

async function* iterate(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

function temporaryFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'thinfs-test-auth-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A folder with docker's config.json. */
function dockerConfig(t: Test, config: unknown): string {
  const folder = temporaryFolder(t);
  writeFileSync(
    join(folder, 'config.json'),
    typeof config === 'string' ? config : JSON.stringify(config),
  );
  return folder;
}

function encoded(password: string): { auth: string } {
  return { auth: Buffer.from(`${username}:${password}`).toString('base64') };
}

t.test('a registry with htpasswd', async (t) => {
  const { host } = await startRegistry(t, { htpasswd: { username, password } });

  t.test('takes explicit credentials', async (t) => {
    t.equal(await push(await open(t, host, { credentials: { username, password } })), true);
  });

  t.test("takes docker's configuration, as docker writes it", async (t) => {
    for (const auths of [
      { [host]: encoded(password) },
      { [`https://${host}`]: encoded(password) },
      { [`https://${host}/v2/`]: encoded(`${password}\0\0`) },
      { [host]: { username, password } },
      { 'other.example': { auth: 'bm9uZTpub25l' }, [host]: encoded(password) },
    ]) {
      const client = await open(t, host, { dockerConfig: dockerConfig(t, { auths }) });
      t.equal(await client.hasBlob(digestOf(blob), signal), true, inspect(Object.keys(auths)));
    }
  });

  t.test('refuses others, without a word about the password', async (t) => {
    const wrong = 'wrong-secret';
    const empty = temporaryFolder(t);
    const cases: [string, Partial<RegistryOptions>, RegExp][] = [
      ['anonymous', { credentials: 'anonymous' }, /wants a login.*docker login/],
      ['no configuration', { dockerConfig: empty }, /wants a login.*docker login/],
      ['wrong password', { credentials: { username, password: wrong } }, /HTTP 401/],
      [
        'another host',
        { dockerConfig: dockerConfig(t, { auths: { 'x.y': encoded(wrong) } }) },
        /wants a login.*docker login/,
      ],
    ];
    for (const [name, options, message] of cases) {
      const client = await open(t, host, options);
      await t.rejects(push(client), { code: 'denied', message }, name);
      const error: unknown = await push(client).catch((error: unknown) => error);
      t.notMatch(inspect(error, { depth: 9, showHidden: true }), new RegExp(wrong));
    }
  });

  t.test('a broken configuration is said, not quoted', async (t) => {
    for (const config of [
      '{"auths": secret-word',
      '{"auths": ["secret-word"]}',
      { auths: { [host]: { auth: 'c2VjcmV0LXdvcmQ=' } } },
    ]) {
      const error: unknown = await push(
        await open(t, host, { dockerConfig: dockerConfig(t, config) }),
      ).catch((error: unknown) => error);
      t.match(error, { code: 'invalid' });
      t.notMatch(inspect(error, { depth: 9 }), /secret-word|c2VjcmV0/);
    }
  });

  t.test('credentials that are renewed in the file are used at once', async (t) => {
    const folder = dockerConfig(t, { auths: { [host]: encoded('old') } });
    const client = await open(t, host, { dockerConfig: folder });
    await t.rejects(push(client), { code: 'denied' });
    writeFileSync(
      join(folder, 'config.json'),
      JSON.stringify({ auths: { [host]: encoded(password) } }),
    );
    t.equal(await client.hasBlob(digestOf(blob), signal), true);
  });
});

t.test('credential helpers', async (t) => {
  const { host } = await startRegistry(t, { htpasswd: { username, password } });
  const bin = temporaryFolder(t);
  const helper = (name: string, script: string): void => {
    const path = join(bin, `docker-credential-${name}`);
    writeFileSync(
      path,
      `#!/bin/sh\nread server\n[ "$1 $server" = "get ${host}" ] || exit 9\n${script}\n`,
    );
    chmodSync(path, 0o755);
  };
  const { PATH } = process.env;
  process.env.PATH = `${bin}:${PATH}`;
  t.teardown(() => {
    process.env.PATH = PATH;
  });
  const answer = JSON.stringify({ ServerURL: host, Username: username, Secret: password });
  helper('good', `cat <<'.'\n${answer}\n.`);
  helper('absent', 'echo credentials not found in native keychain; exit 1');
  helper('broken', 'echo secret-word; echo secret-word >&2; exit 3');
  helper('babble', 'echo secret-word');
  helper('endless', 'exec yes secret-word');
  helper('parent', 'yes secret-word &'); // has ended, and its child writes on
  const auths = { [host]: encoded(password) };
  const right = [
    { credHelpers: { [host]: 'good' } },
    { credsStore: 'good' },
    { credsStore: 'missing', credHelpers: { [host]: 'good' } },
    { credsStore: 'absent', auths },
    { credHelpers: { 'other.example': 'missing' }, auths },
  ];
  for (const config of right) {
    const client = await open(t, host, { dockerConfig: dockerConfig(t, config) });
    t.equal(await client.hasBlob(digestOf(blob), signal), false, inspect(config));
  }
  const wrong: [string, RegExp][] = [
    ['absent', /wants a login.*docker login/],
    ['broken', /docker-credential-broken: it ended with 3/],
    ['babble', /answer is malformed/],
    ['endless', /SIGKILL/],
    ['parent', /answer is malformed/],
    ['missing', /not installed/],
    ['../good', /name of the helper/],
  ];
  for (const [credsStore, message] of wrong) {
    const client = await open(t, host, { dockerConfig: dockerConfig(t, { credsStore }) });
    const error: unknown = await client
      .hasBlob(digestOf(blob), signal)
      .catch((error: unknown) => error);
    t.match(error, { code: 'denied', message }, credsStore);
    t.notMatch(inspect(error, { depth: 9 }), /secret-word/);
  }
});

t.test('a registry with a token server', async (t) => {
  const allow = (
    login: { username?: string; password?: string; refreshToken?: string },
    { name, actions }: { name: string; actions: readonly string[] },
  ): readonly string[] | undefined => {
    const known = login.password === 'p' || login.refreshToken === 'refresh';
    if (!known && login.username) return undefined;
    return name === 'public/app' || known
      ? actions.filter((action) => known || action === 'pull')
      : [];
  };
  const credentials = { username: 'u', password: 'p' };

  t.test('is logged in to once for each repository and kind of access', async (t) => {
    const { server, registryOptions } = await startTokenServer(t, allow);
    const { host } = await startRegistry(t, { token: registryOptions });
    const client = await open(t, host, { credentials });
    t.equal(await push(client), true);
    t.equal(await push(client, Buffer.from('another')), true);
    t.equal(server.received.length, 1, 'one token to push with');
    const all = Array.from({ length: 8 }, () => client.hasBlob(digestOf(blob), signal));
    t.same(
      await Promise.all(all),
      all.map(() => true),
    );
    t.equal(server.received.length, 2, 'one token to pull with, though eight wanted it at once');
    t.match(server.received[1]?.path, /scope=repository%3Ateam%2Fapp%3Apull&/);
    const other = client.forRepository('team/other');
    t.equal(
      await other.mountBlob(digestOf(blob), 'team/app', signal),
      true,
      'scopes of two repositories',
    );
    t.equal(server.received.length, 3);
  });

  t.test('takes an identity token', async (t) => {
    const { server, registryOptions } = await startTokenServer(t, allow);
    const { host } = await startRegistry(t, { token: registryOptions });
    const auths = { [host]: { identitytoken: 'refresh', auth: '' } };
    const client = await open(t, host, { dockerConfig: dockerConfig(t, { auths }) });
    t.equal(await push(client), true);
    t.match(server.received, [{ method: 'POST', body: /grant_type=refresh_token/ }]);
  });

  t.test('lets the anonymous pull what is public', async (t) => {
    const { registryOptions } = await startTokenServer(t, allow);
    const { host } = await startRegistry(t, { token: registryOptions });
    const client = await open(t, host, { credentials: 'anonymous', repository: 'public/app' });
    t.equal(await client.hasBlob(digestOf(blob), signal), false);
    await t.rejects(push(client), { code: 'denied', message: /HTTP 401/ });
    const secret = client.forRepository('team/app');
    await t.rejects(secret.hasBlob(digestOf(blob), signal), { code: 'denied' });
    const wrong = await open(t, host, { credentials: { username: 'u', password: 'x' } });
    await t.rejects(wrong.hasBlob(digestOf(blob), signal), {
      code: 'denied',
      message: /Cannot get a token/,
    });
  });

  t.test('renews tokens whose life is over', async (t) => {
    const { server, registryOptions } = await startTokenServer(t, allow, 0.001);
    const { host } = await startRegistry(t, { token: registryOptions });
    const client = await open(t, host, { credentials });
    t.equal(await push(client), true);
    t.equal(await client.hasBlob(digestOf(blob), signal), true);
    t.ok(server.received.length > 3, 'a token for about each request');
  });
});

t.test('a token that is refused before its time is renewed once', async (t) => {
  let valid = 0;
  const server = await startHostile(t, ({ path, headers }) => {
    if (path.startsWith('/token')) {
      valid += 1;
      return { status: 200, body: JSON.stringify({ access_token: `t${valid}` }) };
    }
    if (headers.authorization === `Bearer t${valid}`) return { status: 404 };
    const realm = `Bearer realm="${server.origin}/token"`;
    return { status: 401, headers: { 'www-authenticate': realm } };
  });
  const client = await open(t, server.host, { credentials: 'anonymous' });
  t.equal(await client.hasBlob(digestOf(blob), signal), false);
  valid += 1; // as if the server had been restarted with other keys
  t.equal(await client.hasBlob(digestOf(blob), signal), false);
  t.equal(valid, 3);
});

t.test('one blob that is refused refuses no other', async (t) => {
  const refused = digestOf(blob);
  for (const challenge of ['Basic realm="r"', 'Bearer realm="ORIGIN/token"']) {
    const server = await startHostile(t, ({ path }) => {
      if (!path.endsWith(refused)) return { status: path.startsWith('/token') ? 403 : 200 };
      const wanted = challenge.replace('ORIGIN', server.origin);
      return { status: 401, headers: { 'www-authenticate': wanted } };
    });
    const client = await open(t, server.host, { credentials: 'anonymous' });
    const other = digestOf(Buffer.from('another'));
    t.equal(await client.hasBlob(other, signal), true);
    await t.rejects(client.hasBlob(refused, signal), { code: 'denied' });
    t.equal(await client.hasBlob(other, signal), true, `after ${challenge}`);
  }
});

t.test('a registry token of docker is shown as it is', async (t) => {
  const server = await startHostile(t, ({ headers }) => {
    if (headers.authorization === 'Bearer direct') return { status: 404 };
    return { status: 401, headers: { 'www-authenticate': 'Bearer realm="http://127.0.0.1:1/"' } };
  });
  const auths = { [server.host]: { registrytoken: 'direct' } };
  const client = await open(t, server.host, { dockerConfig: dockerConfig(t, { auths }) });
  t.equal(await client.hasBlob(digestOf(blob), signal), false);
});

t.test('answers of token servers that are no tokens', async (t) => {
  const answers: [string, RegExp][] = [
    ['', /holds no token/],
    ['{}', /holds no token/],
    ['[]', /holds no token/],
    ['{"token":""}', /holds no token/],
    ['{"token":5}', /holds no token/],
    [JSON.stringify({ token: 'x'.repeat(64 * 1024 + 1) }), /65537 bytes/],
    [JSON.stringify({ token: 'a\r\nx-evil: 1' }), /characters/],
    [JSON.stringify({ token: 'x', rest: 'y'.repeat(300_000) }), /too large/],
  ];
  for (const [body, message] of answers) {
    const server = await startHostile(t, ({ path }) => {
      if (path.startsWith('/token')) return { status: 200, body };
      const realm = `Bearer realm="${server.origin}/token"`;
      return { status: 401, headers: { 'www-authenticate': realm } };
    });
    const client = await open(t, server.host, { credentials: 'anonymous' });
    await t.rejects(client.hasBlob(digestOf(blob), signal), { code: 'corrupt', message });
  }
});

t.test('canceling does not wait for a token server that is silent', async (t) => {
  const server = await startHostile(t, ({ path }) => {
    if (path.startsWith('/token')) return { status: 200, misdeed: { kind: 'silent' } };
    const realm = `Bearer realm="${server.origin}/token"`;
    return { status: 401, headers: { 'www-authenticate': realm } };
  });
  const client = await open(t, server.host, { credentials: 'anonymous' });
  const abort = new AbortController();
  const asking = client.hasBlob(digestOf(blob), abort.signal);
  setImmediate(() => abort.abort());
  await t.rejects(asking, { code: 'canceled' });
});
