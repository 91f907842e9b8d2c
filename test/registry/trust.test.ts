import { execFileSync } from 'node:child_process';
import dns from 'node:dns/promises';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { digestOf } from '../../src/digest.js';
import { RegistryClient, type RegistryOptions } from '../../src/registry/registry-client.js';
import { makeCertificate, startRegistry } from '../support/docker-registry.js';
import { type HostileServer, startHostile } from '../support/hostile-http.js';

const { signal } = new AbortController();
const digest = digestOf(Buffer.from('a blob'));
const credentials = { username: 'u', password: 'p' };
const patience = { attemptsMax: 2, backoffMs: 1 };

async function open(
  t: Test,
  registry: string,
  options: Partial<RegistryOptions>,
): Promise<RegistryClient> {
  const client = await RegistryClient.open({
    registry,
    repository: 'team/app',
    credentials: 'anonymous',
    patience,
    ...options,
  });
  t.teardown(() => client[Symbol.asyncDispose]());
  return client;
}

function temporaryFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'thinfs-test-trust-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

t.test('a registry on HTTPS', async (t) => {
  const { host, ca = '' } = await startRegistry(t, { tls: true });
  const tls = { plainHttp: false };
  const stranger = makeCertificate(temporaryFolder(t)).ca;

  t.test('is trusted by an authority that was named', async (t) => {
    const client = await open(t, host, { ...tls, ca });
    t.equal(await client.hasBlob(digest, signal), false);
    const local = await open(t, host, { ca });
    t.equal(await local.hasBlob(digest, signal), false, 'who names one wants TLS');
  });

  t.test("is trusted by docker's folder of authorities", async (t) => {
    const certificates = temporaryFolder(t);
    mkdirSync(join(certificates, host));
    copyFileSync(ca, join(certificates, host, 'ca.crt'));
    const client = await open(t, host, { ...tls, certificates });
    t.equal(await client.hasBlob(digest, signal), false);
  });

  t.test('is not trusted otherwise, and not asked again', async (t) => {
    const where = new RegExp(`not trusted.*certs\\.d/${host}/ca\\.crt`);
    for (const options of [
      tls,
      { ...tls, ca: stranger },
      { ...tls, certificates: '/nonexistent' },
    ]) {
      const client = await open(t, host, options);
      await t.rejects(client.hasBlob(digest, signal), { code: 'denied', message: where });
    }
    const missing = open(t, host, { ...tls, ca: '/nonexistent' });
    await t.rejects(missing, { code: 'invalid', message: /\/nonexistent/ });
    const noPem = open(t, host, { ...tls, ca: import.meta.filename });
    await t.rejects(noPem, { code: 'invalid', message: /wanted PEM/ });
  });

  t.test('says so if it is asked on HTTP', async (t) => {
    const client = await open(t, host, {});
    await t.rejects(client.manifest('v1', signal), { code: 'invalid', message: /wants HTTPS/ });
  });
});

t.test('a registry on HTTP says so if it is asked on HTTPS', async (t) => {
  const { host } = await startRegistry(t);
  const client = await open(t, host, { plainHttp: false });
  await t.rejects(client.hasBlob(digest, signal), {
    code: 'invalid',
    message: /does not speak TLS/,
  });
});

t.test('certificates of another name, or of yesterday', async (t) => {
  for (const [names, days, message] of [
    ['DNS:other.example', 2, /ERR_TLS_CERT_ALTNAME_INVALID/],
    ['IP:127.0.0.1', 0, /CERT_HAS_EXPIRED/],
  ] as const) {
    const tls = makeCertificate(temporaryFolder(t), names, days);
    const { host } = await startHostile(t, () => ({ status: 404 }), { tls });
    const client = await open(t, host, { plainHttp: false, ca: tls.ca });
    await t.rejects(client.hasBlob(digest, signal), { code: 'denied', message });
  }
});

t.test('HTTPS is not left, and a client certificate goes to the registry alone', async (t) => {
  const tls = makeCertificate(temporaryFolder(t));
  const plain = await startHostile(t, () => ({ status: 200, body: 'a blob' }));
  const elsewhere = await startHostile(t, () => ({ status: 200, body: 'a blob' }), { tls });
  let location = '';
  const registry = await startHostile(t, () => ({ status: 307, headers: { location } }), { tls });
  const certificates = temporaryFolder(t);
  const own = join(certificates, registry.host);
  mkdirSync(own);
  copyFileSync(tls.ca, join(own, 'ca.crt'));
  copyFileSync(tls.certificate, join(own, 'client.cert'));
  copyFileSync(tls.key, join(own, 'client.key'));
  const client = await open(t, registry.host, { plainHttp: false, certificates });
  location = `${plain.origin}/blob?signature=secret`;
  await t.rejects(client.hasBlob(digest, signal), {
    code: 'denied',
    message: /from HTTPS to http:[^?]*\?… /,
  });
  t.equal(plain.received.length, 0);
  location = `${elsewhere.origin}/blob`;
  t.equal(await client.hasBlob(digest, signal), true);
  t.equal(
    elsewhere.received.some(({ certified }) => certified),
    false,
  );
});

t.test('a client certificate is shown to a registry that wants one', async (t) => {
  const tls = makeCertificate(temporaryFolder(t));
  const registry = await startHostile(t, () => ({ status: 404 }), { tls });
  const certificates = temporaryFolder(t);
  const own = join(certificates, registry.host);
  mkdirSync(own);
  for (const [from, to] of [
    [tls.ca, 'ca.crt'],
    [tls.certificate, 'client.cert'],
    [tls.key, 'client.key'],
  ] as const) {
    copyFileSync(from, join(own, to));
  }
  const client = await open(t, registry.host, { plainHttp: false, certificates });
  t.equal(await client.hasBlob(digest, signal), false);
  t.match(registry.received, [{ certified: true }]);
});

/** Addresses of this machine that are no loopback addresses, as far as anybody can tell. */
const network = `10.${128 + ((process.pid >> 8) % 128)}.${process.pid % 256}`;
const remote = [`${network}.1`, `${network}.2`] as const;

function addRemoteAddresses(t: Test): void {
  for (const address of remote) {
    execFileSync('ip', ['address', 'replace', `${address}/32`, 'dev', 'lo']);
    t.teardown(() => execFileSync('ip', ['address', 'del', `${address}/32`, 'dev', 'lo']));
  }
}

t.test('a registry elsewhere cannot send us to this machine', async (t) => {
  addRemoteAddresses(t);
  const local = await startHostile(t, () => ({ status: 200, body: 'a blob' }));
  const store = await startHostile(t, () => ({ status: 200, body: 'a blob' }), {
    address: remote[1],
  });
  let answer: (registry: HostileServer) => { status: number; headers: Record<string, string> };
  const registry: HostileServer = await startHostile(t, () => answer(registry), {
    address: remote[0],
  });
  const client = await open(t, registry.host, { plainHttp: true, credentials });
  const port = local.host.split(':')[1];

  const places = [
    `127.0.0.1:${port}`,
    `localhost:${port}`,
    `[::1]:${port}`,
    `0.0.0.0:${port}`,
    `0x7f.1:${port}`,
    `[::ffff:127.0.0.1]:${port}`,
    '169.254.169.254',
    '[fe80::1]',
    '[fd00:ec2::254]',
  ];
  for (const place of places) {
    answer = () => ({ status: 307, headers: { location: `http://${place}/latest/meta-data` } });
    await t.rejects(
      client.hasBlob(digest, signal),
      { code: 'denied', message: /address of this machine or its link/ },
      place,
    );
  }
  answer = () => ({
    status: 401,
    headers: { 'www-authenticate': `Bearer realm="http://localhost:${port}/token"` },
  });
  const anonymous = await open(t, registry.host, { plainHttp: true });
  await t.rejects(anonymous.hasBlob(digest, signal), {
    code: 'denied',
    message: /address of this machine/,
  });
  t.equal(local.received.length, 0, 'nothing arrived there');

  answer = () => ({ status: 307, headers: { location: `${store.origin}/blob` } });
  t.equal(await client.hasBlob(digest, signal), true, 'another host is fine');
});

t.test('a registry on this machine may send us to it, as soon as its name is known', async (t) => {
  const local = await startHostile(t, () => ({ status: 200, body: 'a blob' }));
  const registry = await startHostile(t, () => ({
    status: 307,
    headers: { location: `${local.origin}/blob` },
  }));
  const client = await open(t, registry.host, { plainHttp: true });
  const { lookup } = dns;
  const useLookup = (used: typeof lookup) => {
    dns.lookup = used;
    syncBuiltinESMExports();
  };
  t.teardown(() => useLookup(lookup));
  useLookup((async () => {
    throw new Error('EAI_AGAIN');
  }) as unknown as typeof lookup);
  await t.rejects(client.hasBlob(digest, signal), { code: 'denied' });
  useLookup(lookup);
  t.equal(await client.hasBlob(digest, signal), true);
});

t.test('credentials stay with the registry', async (t) => {
  addRemoteAddresses(t);
  const thief = await startHostile(t, () => ({ status: 200, body: '{"token":"x"}' }), {
    address: remote[1],
  });
  const registry = await startHostile(
    t,
    ({ headers, path }) => {
      if (path.startsWith('/back')) return { status: 200, body: 'a blob' };
      if (headers.authorization === undefined) {
        return { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } };
      }
      return { status: 307, headers: { location: `${bouncer.origin}/` } };
    },
    { address: remote[0] },
  );
  const bouncer: HostileServer = await startHostile(
    t,
    () => ({ status: 307, headers: { location: `${registry.origin}/back` } }),
    { address: remote[1] },
  );
  const client = await open(t, registry.host, { plainHttp: true, credentials });
  t.equal(await client.hasBlob(digest, signal), true);
  t.equal(
    bouncer.received.some(({ headers }) => headers.authorization),
    false,
  );
  t.match(
    registry.received.at(-1),
    { path: '/back', headers: { authorization: undefined } },
    'nor after a detour',
  );

  const tokens = await startHostile(
    t,
    () => ({
      status: 401,
      headers: { 'www-authenticate': `Bearer realm="${thief.origin}/token"` },
    }),
    { address: remote[0] },
  );
  const other = await open(t, tokens.host, { plainHttp: true, credentials });
  await t.rejects(other.hasBlob(digest, signal), {
    code: 'denied',
    message: /another host on plain HTTP/,
  });
  t.equal(thief.received.length, 0);

  const challenger = await startHostile(
    t,
    () => ({ status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } }),
    { address: remote[1] },
  );
  const sender = await startHostile(
    t,
    () => ({ status: 307, headers: { location: challenger.origin } }),
    { address: remote[0] },
  );
  const third = await open(t, sender.host, { plainHttp: true, credentials });
  await t.rejects(third.hasBlob(digest, signal), { code: 'denied' });
  t.equal(
    challenger.received.some(({ headers }) => headers.authorization),
    false,
    'a challenge from elsewhere is not met',
  );
});
