import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { z } from 'zod';
import { digestHex, digestOf } from '../../src/digest.js';
import { startRegistry } from '../support/docker-registry.js';
import { blobPath, type LayoutImage, testImage } from '../support/images.js';
import { blobsOf, convert, copyLayout, runThinify, testFolder } from './thinify-runs.js';

const attestation = { os: 'unknown', architecture: 'unknown' };
const index = 'application/vnd.oci.image.index.v1+json';

/** Adds a document to a layout. */
function addBlob(layout: string, content: object) {
  const bytes = Buffer.from(JSON.stringify(content));
  const digest = digestOf(bytes);
  writeFileSync(join(layout, 'blobs', 'sha256', digestHex(digest)), bytes);
  return { digest, size: bytes.length };
}

/** A layout with an index of two platforms and an attestation. */
function layoutOfPlatforms(layout: string, { manifest, config }: LayoutImage): void {
  const read = (digest: LayoutImage['manifest']['digest']) =>
    z.looseObject({}).parse(JSON.parse(readFileSync(blobPath(layout, digest), 'utf8')));
  const armConfig = addBlob(layout, { ...read(config.digest), architecture: 'arm64' });
  const armManifest = { ...read(manifest.digest), config: { ...config, ...armConfig } };
  const arm = { ...manifest, ...addBlob(layout, armManifest) };
  const noteManifest = { ...read(manifest.digest), annotations: { 'vnd.example': 'attestation' } };
  const note = { ...manifest, ...addBlob(layout, noteManifest) };
  const manifests = [
    { ...manifest, platform: { os: 'linux', architecture: 'amd64' } },
    { ...arm, platform: { os: 'linux', architecture: 'arm64' } },
    { ...note, platform: attestation },
  ];
  const nested = addBlob(layout, { schemaVersion: 2, mediaType: index, manifests });
  const top = { schemaVersion: 2, mediaType: index, manifests: [{ mediaType: index, ...nested }] };
  writeFileSync(join(layout, 'index.json'), JSON.stringify(top));
}

t.test('all platforms of an index, without its attestations, also pushed', async (t) => {
  const image = await testImage('busybox');
  const layout = copyLayout(t, image.layout);
  layoutOfPlatforms(layout, image);
  const folder = testFolder(t);
  const registry = await startRegistry(t);
  const name = `${registry.host}/test:1`;
  const both = await convert(folder, { image: `oci:${layout}`, name });
  t.equal(both.manifests.length, 2, 'two platforms');
  t.ok(both.bytesReused > 0, 'their layers are the same');
  const again = await convert(folder, { image: name });
  t.match(again, { alreadyPublished: true, manifests: both.manifests });
  const verified = await runThinify(folder, ['verify', name]);
  t.match(verified.stdout, /linux\/amd64: all right.*linux\/arm64: all right/s);

  const to = `dir:${join(folder, 'store')}`;
  const arm = await convert(folder, { image: name, platform: 'linux/arm64', to });
  t.same(arm.manifests, both.manifests.slice(1));
  const none = convert(folder, { image: name, platform: 'linux/s390x', to });
  await t.rejects(none, { code: 'not-found', message: /linux\/amd64, linux\/arm64/ });
});

t.test('a diff ID that is another is corrupt, and nothing is published', async (t) => {
  const image = await testImage('busybox');
  const layout = copyLayout(t, image.layout);
  const config = readFileSync(blobPath(layout, image.config.digest), 'utf8');
  const diffId = image.layers[0]?.diffId ?? '';
  const wrong = JSON.parse(config.replace(diffId, digestOf(Buffer.from('another'))));
  const manifest = JSON.parse(readFileSync(blobPath(layout, image.manifest.digest), 'utf8'));
  const changed = { ...manifest, config: { ...image.config, ...addBlob(layout, wrong) } };
  const manifests = [{ ...image.manifest, ...addBlob(layout, changed) }];
  writeFileSync(join(layout, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }));
  const folder = testFolder(t);
  const store = join(folder, 'store');
  const conversion = { image: `oci:${layout}`, name: 'test/image:1', to: `dir:${store}` };
  await t.rejects(convert(folder, conversion), { code: 'corrupt', message: /diff ID/ });
  t.throws(() => blobsOf(store), 'no blob');
});
