import { randomBytes } from 'node:crypto';
import t, { type Test } from 'tap';
import { type Digest, digestOf } from '../../src/digest.js';
import { parseManifest } from '../../src/image/manifest.js';
import { mediaTypes } from '../../src/image/media-type.js';
import { RegistryClient, type RegistryOptions } from '../../src/registry/registry-client.js';
import { startRegistry, type TestRegistry } from '../support/docker-registry.js';

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
