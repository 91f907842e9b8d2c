import t from 'tap';
import { isThinError } from '../../src/errors.js';
import { checkRealm } from '../../src/registry/bearer-token.js';
import { endpointOf, isLocalAddress } from '../../src/registry/endpoint.js';
import { displayUrl, parseRetryAfter } from '../../src/registry/http-failure.js';
import { resolveLocation } from '../../src/registry/redirect.js';
import fc from '../support/properties.js';

t.test('registries and their endpoints', async (t) => {
  const endpoints: Readonly<Record<string, string>> = {
    'docker.io': 'https://registry-1.docker.io',
    'ghcr.io': 'https://ghcr.io',
    'r.example:8443': 'https://r.example:8443',
    localhost: 'http://localhost',
    'localhost:5000': 'http://localhost:5000',
    '127.0.0.1:5000': 'http://127.0.0.1:5000',
    '127.9.9.9': 'http://127.9.9.9',
    '[::1]:5000': 'http://[::1]:5000',
    '128.0.0.1': 'https://128.0.0.1',
    'localhost.example': 'https://localhost.example',
  };
  for (const [registry, origin] of Object.entries(endpoints)) {
    t.equal(endpointOf(registry).base.origin, origin);
  }
  t.equal(endpointOf('localhost:5000', false).base.origin, 'https://localhost:5000');
  t.equal(endpointOf('r.example', true).base.origin, 'http://r.example');
});

t.test('addresses of this machine and its link', async (t) => {
  for (const address of [
    '127.0.0.1',
    '127.255.0.1',
    '::1',
    '0.0.0.0',
    '::',
    '169.254.169.254',
    'fe80::1',
    '::ffff:127.0.0.1',
    'fd00:ec2::254',
  ]) {
    t.ok(isLocalAddress(address), address);
  }
  for (const address of [
    '10.0.0.1',
    '192.168.0.1',
    '8.8.8.8',
    '2001:db8::1',
    '::ffff:8.8.8.8',
    'nonsense',
  ]) {
    t.notOk(isLocalAddress(address), address);
  }
});

t.test('where a token may be asked for', async (t) => {
  const https = endpointOf('r.example');
  const http = endpointOf('r.example:5000', true);
  const local = endpointOf('localhost:5000');
  t.equal(checkRealm('https://auth.other.example/token', https, true).host, 'auth.other.example');
  t.equal(checkRealm('https://auth.other.example/token', http, true).host, 'auth.other.example');
  t.equal(checkRealm('http://r.example:5001/token', http, true).host, 'r.example:5001');
  t.equal(checkRealm('http://127.0.0.1:5001/token', local, true).host, '127.0.0.1:5001');
  t.equal(checkRealm('http://other.example/token', http, false).host, 'other.example');
  for (const [realm, endpoint] of [
    ['http://r.example/token', https],
    ['http://other.example/token', http],
    ['file:///etc/passwd', http],
    ['https://user:word@r.example/', https],
    ['', https],
    ['/token', https],
    ['http://[', http],
  ] as const) {
    t.throws(
      () => checkRealm(realm, endpoint, true),
      { code: 'denied', message: /^(?!.*word)/ },
      realm,
    );
  }
});

t.test('Retry-After', async (t) => {
  const now = Date.parse('2024-01-01T00:00:00Z');
  const headers: [string | undefined, number | undefined][] = [
    ['0', 0],
    ['120', 120_000],
    ['1000000000', 1e12],
    ['Mon, 01 Jan 2024 00:00:10 GMT', 10_000],
    ['Sun, 31 Dec 2023 00:00:00 GMT', 0],
    [undefined, undefined],
    ['', undefined],
    ['-1', undefined],
    ['1.5', undefined],
    ['1e3', undefined],
    ['soon', undefined],
    ['2024', 2_024_000],
    ['9'.repeat(400), undefined],
  ];
  for (const [header, ms] of headers) t.equal(parseRetryAfter(header, now), ms, header ?? 'absent');
});

t.test('locations are followed or refused, whatever they are', async (t) => {
  const secret = 'word-of-the-test';
  t.equal(
    displayUrl(new URL(`https://u:${secret}@h.example/p?sig=${secret}#f`)),
    'https://h.example/p?…',
  );
  const part = fc.constantFrom(
    'http:',
    'https:',
    'file:',
    '//',
    '/',
    'h',
    ':',
    '@',
    '[',
    '%',
    '?',
    '..',
    '\\',
    secret,
    'é',
    '80',
  );
  const location = fc.oneof(
    fc.string(),
    fc.array(part, { maxLength: 12 }).map((all) => all.join('')),
  );
  const from = new URL('https://r.example/v2/a/blobs/x');
  fc.assert(
    fc.property(location, (location) => {
      try {
        const { protocol, username, password } = resolveLocation('Cannot test', from, location);
        return protocol === 'https:' && username === '' && password === '';
      } catch (error) {
        return isThinError(error, 'denied') && error.cause === undefined;
      }
    }),
    { numRuns: 3000 },
  );
});
