import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type Digest, digestHex, digestOf } from '../../src/digest.js';
import { ThinError } from '../../src/errors.js';
import { parseManifest } from '../../src/image/manifest.js';
import { mediaTypes } from '../../src/image/media-type.js';
import { RegistryClient, type RegistryOptions } from '../../src/registry/registry-client.js';
import { startRegistry, type TestRegistry } from '../support/docker-registry.js';
import { freePort } from '../support/free-port.js';

const { signal } = new AbortController();

async function open(
  t: Test,
  { host }: TestRegistry,
  options: Partial<RegistryOptions> = {},
): Promise<RegistryClient> {
  const client = await RegistryClient.open({
    registry: host,
    repository: 'team/app',
    credentials: 'anonymous',
    ...options,
  });
  t.teardown(() => client[Symbol.asyncDispose]());
  return client;
}

async function collect(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of chunks) parts.push(part);
  return Buffer.concat(parts);
}

async function push(
  client: RegistryClient,
  bytes: Buffer,
): Promise<{ digest: Digest; size: number }> {
  const blob = { digest: digestOf(bytes), size: bytes.length };
  await client.pushBlob(blob, (offset) => chunksOf(bytes, offset), signal);
  return blob;
}

async function* chunksOf(bytes: Buffer, offset: number): AsyncGenerator<Buffer> {
  for (let at = offset; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
}

t.test('an image is pushed and read back', async (t) => {
  const client = await open(t, await startRegistry(t));
  const layer = randomBytes(300_000);
  const config = Buffer.from('{}');
  t.equal(await client.hasBlob(digestOf(layer), signal), false);
  const blobs = [await push(client, config), await push(client, layer)];
  t.equal(await client.hasBlob(digestOf(layer), signal), true);
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      config: { mediaType: mediaTypes.ociConfig, ...blobs[0] },
      layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', ...blobs[1] }],
    }),
  );
  const digest = await client.pushManifest('v1', manifest, mediaTypes.ociManifest, signal);
  const descriptor = await client.resolve('v1', signal);
  t.same(descriptor, { mediaType: mediaTypes.ociManifest, digest, size: manifest.length });
  const read = await client.manifest(descriptor, signal);
  t.same(read.bytes, manifest);
  t.equal(parseManifest(read.bytes, read.mediaType).kind, 'manifest');
  const blob = { digest: digestOf(layer), size: layer.length };
  t.same(await collect(client.blob(blob, { signal })), layer);
  t.same(
    await collect(client.blob(blob, { offset: 1000, length: 77, signal })),
    layer.subarray(1000, 1077),
  );
});

t.test('blobs are not sent twice', async (t) => {
  const client = await open(t, await startRegistry(t));
  const bytes = randomBytes(100_000);
  const blob = { digest: digestOf(bytes), size: bytes.length };
  const progress: number[] = [];
  const send = (): Promise<boolean> =>
    client.pushBlob(
      blob,
      (offset) => chunksOf(bytes, offset),
      signal,
      (sent) => progress.push(sent),
    );
  t.equal(await send(), true);
  t.same(progress, [65_536, 100_000]);
  t.equal(await send(), false);
  const other = client.forRepository('team/other');
  t.equal(await other.hasBlob(blob.digest, signal), false);
  t.equal(await other.mountBlob(blob.digest, 'team/app', signal), true);
  t.equal(await other.hasBlob(blob.digest, signal), true);
  t.equal(await other.mountBlob(digestOf(Buffer.from('?')), 'team/app', signal), false);
});

t.test('empty blobs and parts', async (t) => {
  const client = await open(t, await startRegistry(t));
  const empty = await push(client, Buffer.alloc(0));
  t.same(await collect(client.blob(empty, { signal })), Buffer.alloc(0));
  const blob = await push(client, Buffer.from('abcdef'));
  t.same(await collect(client.blob(blob, { offset: 6, signal })), Buffer.alloc(0));
  t.same(await collect(client.blob(blob, { offset: 5, signal })), Buffer.from('f'));
  for (const range of [
    { offset: 7 },
    { offset: -1 },
    { length: 7 },
    { offset: 1.5 },
    { length: -1 },
  ]) {
    await t.rejects(collect(client.blob(blob, { ...range, signal })), { code: 'invalid' });
  }
  const lie = { digest: digestOf(Buffer.from('x')), size: 0 };
  await t.rejects(collect(client.blob(lie, { signal })), { code: 'corrupt' });
});

t.test('what is absent or malformed', async (t) => {
  const client = await open(t, await startRegistry(t));
  const absent = digestOf(Buffer.from('absent'));
  await t.rejects(client.resolve('v1', signal), { code: 'not-found' });
  await t.rejects(client.manifest(absent, signal), {
    code: 'not-found',
    message: /MANIFEST_UNKNOWN/,
  });
  await t.rejects(collect(client.blob({ digest: absent, size: 3 }, { signal })), {
    code: 'not-found',
  });
  await t.rejects(client.manifest('../../_catalog', signal), { code: 'invalid' });
  await t.rejects(client.manifest('sha256:abc', signal), { code: 'invalid' });
  await t.rejects(client.pushManifest(absent, Buffer.from('{}'), mediaTypes.ociManifest, signal), {
    code: 'invalid',
  });
  const missing = { mediaType: mediaTypes.ociConfig, digest: absent, size: 3 };
  const orphan = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      config: missing,
      layers: [],
    }),
  );
  await t.rejects(
    client.pushManifest('v1', orphan, mediaTypes.ociManifest, signal),
    { message: /HTTP 40[04] MANIFEST_BLOB_UNKNOWN/ },
    'a manifest whose blobs have not been pushed',
  );
  for (const repository of ['', '../x', 'a?b', 'A', '/a']) {
    t.throws(() => client.forRepository(repository), { code: 'invalid' });
  }
  for (const registry of ['', 'a/b', 'a?b', 'user@host', '..', 'a b', '[::1']) {
    await t.rejects(
      RegistryClient.open({ registry, repository: 'a' }),
      { code: 'invalid' },
      registry,
    );
  }
});

t.test('a registry that is not there', async (t) => {
  const registry = await startRegistry(t, { port: await freePort() }); // it comes back there
  const client = await open(t, registry, { patience: { attemptsMax: 2, backoffMs: 1 } });
  const blob = await push(client, Buffer.from('a blob'));
  await registry.stop();
  await t.rejects(collect(client.blob(blob, { signal })), {
    code: 'unavailable',
    message: /ECONNREFUSED/,
  });
  const again = await startRegistry(t, { port: registry.port, root: registry.root });
  t.equal(again.host, registry.host);
  t.same(await collect(client.blob(blob, { signal })), Buffer.from('a blob'));
});

t.test('corruption at rest is found while reading', async (t) => {
  const registry = await startRegistry(t);
  const client = await open(t, registry);
  const blob = await push(client, Buffer.from('a blob'));
  const hex = digestHex(blob.digest);
  const data = join(registry.root, 'docker/registry/v2/blobs/sha256', hex.slice(0, 2), hex, 'data');
  writeFileSync(data, 'b blob');
  await t.rejects(collect(client.blob(blob, { signal })), {
    code: 'corrupt',
    message: /another digest/,
  });
  writeFileSync(data, 'a blo');
  await t.rejects(collect(client.blob(blob, { signal })), { code: 'corrupt' });
});

t.test('canceling ends what is under way', async (t) => {
  const client = await open(t, await startRegistry(t));
  const blob = await push(client, randomBytes(8 * 1024 * 1024));
  const abort = new AbortController();
  const reading = (async () => {
    for await (const _ of client.blob(blob, { signal: abort.signal })) abort.abort();
  })();
  await t.rejects(reading, { code: 'canceled' });
  await t.rejects(client.resolve('v1', AbortSignal.abort()), { code: 'canceled' });
  const pushing = new AbortController();
  const source = async function* (): AsyncGenerator<Buffer> {
    pushing.abort();
    yield Buffer.from('x');
  };
  const sent = { digest: digestOf(Buffer.from('x')), size: 1 };
  await t.rejects(client.pushBlob(sent, source, pushing.signal), { code: 'canceled' });
});

t.test('a source that fails is not the registry that fails', async (t) => {
  const client = await open(t, await startRegistry(t));
  const blob = { digest: digestOf(Buffer.from('xyz')), size: 3 };
  let opened = 0;
  const broken = async function* (): AsyncGenerator<Buffer> {
    opened += 1;
    yield Buffer.from('x');
    throw new ThinError('corrupt', 'Cannot read pack: it is broken');
  };
  await t.rejects(client.pushBlob(blob, broken, signal), { code: 'corrupt', message: /pack/ });
  t.equal(opened, 1);
  const short = async function* (): AsyncGenerator<Buffer> {
    yield Buffer.from('x');
  };
  await t.rejects(client.pushBlob(blob, short, signal), {
    code: 'invalid',
    message: /2 bytes too early/,
  });
  const other = (): AsyncGenerator<Buffer> => chunksOf(Buffer.from('abc'), 0);
  await t.rejects(client.pushBlob(blob, other, signal), { message: /DIGEST_INVALID/ });
  t.equal(await client.hasBlob(blob.digest, signal), false);
});

t.test('disposing ends with what is under way, and twice is once', async (t) => {
  const client = await open(t, await startRegistry(t));
  const blob = await push(client, randomBytes(8 * 1024 * 1024));
  const chunks = client.blob(blob, { signal });
  await chunks.next();
  await client[Symbol.asyncDispose]();
  await client[Symbol.asyncDispose]();
  await t.rejects(collect(chunks), { code: 'canceled' });
});
