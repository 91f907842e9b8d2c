import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import t, { type Test } from 'tap';
import { digestOf } from '../../src/digest.js';
import { isThinError } from '../../src/errors.js';
import { parseManifest } from '../../src/image/manifest.js';
import { mediaTypes } from '../../src/image/media-type.js';
import type { Patience } from '../../src/registry/patience.js';
import { RegistryClient } from '../../src/registry/registry-client.js';
import {
  type Answer,
  type HostileServer,
  type Received,
  startHostile,
} from '../support/hostile-http.js';

import { type Column, columns, outcomeOf, type Row, rows, signature } from './misdeeds.js';

/**
 * The matrix of facts/failures.md section 2.3: each row is something that a registry does wrong,
 * each column what it is done to. The outcome is the right bytes or one clear error.
 */

const username = 'alice';
const password = 'pass-word-of-the-test';
const token = 'token-of-the-test';
const secrets = [password, token, Buffer.from(`${username}:${password}`).toString('base64')];

const layer = randomBytes(300_000);
const config = Buffer.from('{"architecture":"amd64","os":"linux"}');
const layerDigest = digestOf(layer);
const manifest = Buffer.from(
  JSON.stringify({
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: { mediaType: mediaTypes.ociConfig, digest: digestOf(config), size: config.length },
    layers: [{ mediaType: 'application/x-tar', digest: layerDigest, size: layer.length }],
  }),
);
const manifestDescriptor = {
  mediaType: mediaTypes.ociManifest,
  digest: digestOf(manifest),
  size: manifest.length,
};
const range = { offset: 100_000, length: 5000 };

/** A busy machine is no hostile registry: it has all the time that it needs. */
const patience: Partial<Patience> = {
  connectMs: 60_000,
  answerMs: 60_000,
  progressWindowMs: 60_000,
  progressBytesMin: 500,
  attemptsMax: 3,
  backoffMs: 1,
  backoffMaxMs: 5,
  retryAfterMaxMs: 50,
};
/** Where the registry is too slow, so that the whole matrix takes seconds. */
const brief: Partial<Patience> = { ...patience, answerMs: 1000, progressWindowMs: 500 };

function rightAnswer(request: Received, origin: string): Answer {
  if (request.path.startsWith('/token?')) {
    const basic = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
    if (request.headers.authorization !== basic) return { status: 401 };
    return { status: 200, body: JSON.stringify({ token, expires_in: 300 }) };
  }
  if (request.headers.authorization !== `Bearer ${token}`) {
    const bearer = `Bearer realm="${origin}/token",service="test"`;
    return { status: 401, headers: { 'www-authenticate': bearer } };
  }
  return contentOf(request);
}

function contentOf({ path, headers }: Received): Answer {
  if (path.includes('/manifests/')) {
    const type = { 'content-type': mediaTypes.ociManifest };
    return { status: 200, headers: type, body: manifest };
  }
  const body = path.includes(layerDigest) ? layer : config;
  const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '') ?? [];
  if (from === undefined) return { status: 200, body };
  const contentRange = `bytes ${from}-${to}/${body.length}`;
  const part = body.subarray(Number(from), Number(to) + 1);
  return { status: 206, headers: { 'content-range': contentRange }, body: part };
}

function columnOf({ path, headers }: Received): Column {
  if (path.startsWith('/token')) return 'token';
  if (path.includes('/manifests/')) return 'manifest';
  if (!path.includes(layerDigest)) return 'config';
  return headers.range === undefined ? 'blob' : 'range';
}

/** A registry that does `row` to `column`, whatever comes before it done right. */
async function startRegistryOf(
  t: Test,
  row: Row,
  column: Column,
  elsewhere: string,
): Promise<HostileServer> {
  let asked = 0;
  const server = await startHostile(t, (request) => {
    const right = rightAnswer(request, server.origin);
    const isColumn = columnOf(request) === column && (column === 'token' || right.status < 300);
    if (!isColumn) return right;
    const context = { nth: asked, request, column, elsewhere, whole: layer };
    asked += 1;
    const wrong = row.change(right, context);
    const headers = Object.entries(wrong.headers ?? {}).map(([name, value]) => [
      name,
      typeof value === 'string' ? value.replace('TOKEN-SERVER', `${server.origin}/token`) : value,
    ]);
    return { ...wrong, headers: Object.fromEntries(headers) };
  });
  return server;
}

async function collect(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of chunks) parts.push(part);
  return Buffer.concat(parts);
}

/** Does what `column` is about, and says whether it went right. */
async function use(client: RegistryClient, column: Column): Promise<boolean> {
  const { signal } = new AbortController();
  if (column === 'manifest' || column === 'token') {
    const target = column === 'token' ? 'v1' : manifestDescriptor;
    const { bytes, mediaType } = await client.manifest(target, signal);
    return bytes.equals(manifest) && parseManifest(bytes, mediaType).kind === 'manifest';
  }
  if (column === 'config') {
    const blob = { digest: digestOf(config), size: config.length };
    return (await collect(client.blob(blob, { signal }))).equals(config);
  }
  const blob = { digest: layerDigest, size: layer.length };
  if (column === 'blob') return (await collect(client.blob(blob, { signal }))).equals(layer);
  const part = await collect(client.blob(blob, { ...range, signal }));
  return part.length === range.length; // that its bytes are right is for the chunk's digest to say
}

async function outcome(
  client: RegistryClient,
  column: Column,
): Promise<{ outcome: string; error?: unknown }> {
  try {
    return { outcome: (await use(client, column)) ? 'right' : 'wrong bytes' };
  } catch (error) {
    return { outcome: isThinError(error) ? error.code : 'a foreign error', error };
  }
}

t.jobs = columns.length; // most of it is waiting
for (const column of columns) {
  t.test(`a registry that does wrong to ${column} requests`, { buffered: true }, async (t) => {
    const elsewhere = await startHostile(t, (request) => contentOf(request));
    for (const row of rows) {
      const server = await startRegistryOf(t, row, column, elsewhere.origin);
      const client = await RegistryClient.open({
        registry: server.host,
        repository: 'team/app',
        credentials: { username, password },
        patience: row.isLate ? brief : patience,
      });
      const found = await outcome(client, column);
      await client[Symbol.asyncDispose]();
      t.equal(found.outcome, outcomeOf(row, column), row.name, { error: String(found.error) });
      const shown = inspect(found.error, { depth: 10, showHidden: true });
      t.notOk(
        [...secrets, signature].some((secret) => shown.includes(secret)),
        `${row.name}: no secret is shown`,
      );
      t.ok(server.received.length < 20, `${row.name}: few requests`);
    }
    t.notOk(
      elsewhere.received.some(({ headers }) => headers.authorization !== undefined),
      'no other server is told who we are',
    );
  });
}
