import t from 'tap';
import { isThinError } from '../../src/errors.js';
import type { Descriptor } from '../../src/image/descriptor.js';
import { listManifests } from '../../src/image/image-list.js';
import { type ImageIndex, type Manifest, parseManifest } from '../../src/image/manifest.js';
import { mediaTypeOfHeader, mediaTypes } from '../../src/image/media-type.js';
import { limits } from '../../src/limits.js';
import fc from '../support/properties.js';

const digest = `sha256:${'ab'.repeat(32)}`;
const config = { mediaType: mediaTypes.ociConfig, digest, size: 2 };
const layer = { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest, size: 3 };
const image = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers: [layer] };
const entry = { mediaType: mediaTypes.ociManifest, digest, size: 9 };
const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [entry] };

function read(document: unknown, mediaType?: string): Manifest | ImageIndex {
  return parseManifest(Buffer.from(JSON.stringify(document)), mediaType);
}

t.test('manifests and indexes of OCI and Docker', async (t) => {
  t.match(read(image, mediaTypes.ociManifest), { kind: 'manifest', config, layers: [layer] });
  t.match(read(index, mediaTypes.ociIndex), { kind: 'index', manifests: [entry] });
  const docker = { ...image, mediaType: mediaTypes.dockerManifest };
  t.equal(read(docker, mediaTypes.dockerManifest).mediaType, mediaTypes.dockerManifest);
  const list = { ...index, mediaType: mediaTypes.dockerIndex };
  t.equal(read(list, mediaTypes.dockerIndex).kind, 'index');
  const { mediaType: _, ...unnamed } = image;
  t.equal(
    read(unnamed, mediaTypes.ociManifest).kind,
    'manifest',
    'OCI documents need no mediaType',
  );
  t.equal(read(image).kind, 'manifest', 'a header that says nothing leaves it to the document');
});

t.test('what artifacts say about themselves is kept, urls are not', async (t) => {
  const artifact = {
    ...image,
    artifactType: 'application/vnd.thinfs.image.v1',
    subject: { ...entry, urls: ['http://169.254.169.254/'] },
    annotations: { a: 'b' },
    layers: [{ ...layer, urls: ['file:///etc/passwd'], annotations: { c: 'd' } }],
  };
  const found = read(artifact);
  t.match(found, {
    artifactType: artifact.artifactType,
    subject: entry,
    annotations: { a: 'b' },
    layers: [{ annotations: { c: 'd' } }],
  });
  t.notMatch(JSON.stringify(found), /urls|169\.254|passwd/);
});

t.test('null is the same as absent', async (t) => {
  t.match(read({ ...image, annotations: null, subject: null }), { kind: 'manifest' });
});

t.test('the type must be one, and the same everywhere', async (t) => {
  const cases: [unknown, string | undefined, string, RegExp][] = [
    [image, mediaTypes.ociIndex, 'corrupt', /calls itself .*manifest.*wanted .*index/],
    [index, mediaTypes.ociManifest, 'corrupt', /calls itself/],
    [{ ...image, manifests: [] }, undefined, 'corrupt', /ambiguous/],
    [{ ...index, layers: [] }, undefined, 'corrupt', /ambiguous/],
    [{ ...index, config }, undefined, 'corrupt', /ambiguous/],
    [{ ...image, mediaType: undefined }, undefined, 'corrupt', /names a media type/],
    [
      { schemaVersion: 1, mediaType: 'application/vnd.docker.distribution.manifest.v1+prettyjws' },
      'application/vnd.docker.distribution.manifest.v1+prettyjws',
      'invalid',
      /v1\+prettyjws.*wanted one of .*oci\.image\.manifest/,
    ],
    [{ ...image, mediaType: 'text/html' }, undefined, 'invalid', /"text\/html"/],
    [image, 'text/html', 'invalid', /"text\/html"/],
  ];
  for (const [document, type, code, message] of cases) {
    t.throws(() => read(document, type), { code, message }, String(message));
  }
});

t.test('malformed documents are corrupt, and not quoted', async (t) => {
  const cases: unknown[] = [
    { ...image, schemaVersion: 3 },
    { ...image, config: undefined },
    { ...image, layers: { length: 1 } },
    { ...image, layers: [{ ...layer, size: -1 }] },
    { ...image, layers: [{ ...layer, size: 1.5 }] },
    { ...image, layers: [{ ...layer, size: 2 ** 53 }] },
    { ...image, layers: [{ ...layer, size: '3' }] },
    { ...image, layers: [{ ...layer, digest: 'sha256:../../secret' }] },
    { ...image, layers: [{ ...layer, digest: `SHA256:${'ab'.repeat(32)}` }] },
    { ...image, layers: [{ ...layer, mediaType: '' }] },
    { ...image, layers: Array.from({ length: limits.layersMax + 1 }, () => layer) },
    { ...image, annotations: { secret: 1 } },
  ];
  for (const document of cases) {
    t.throws(() => read(document, mediaTypes.ociManifest), {
      code: 'corrupt',
      message: /^(?!.*secret-)/,
    });
  }
  const bytes = [
    Buffer.from(''),
    Buffer.from('{'),
    Buffer.from('[]'),
    Buffer.from('null'),
    Buffer.from([0x22, 0xff, 0x22]),
    Buffer.from('['.repeat(1_000_000)),
    Buffer.alloc(limits.manifestBytesMax + 1, 0x20),
  ];
  for (const document of bytes) {
    t.throws(() => parseManifest(document, mediaTypes.ociManifest), { code: 'corrupt' });
  }
});

t.test('a header names a type, or says nothing', async (t) => {
  t.equal(mediaTypeOfHeader(`${mediaTypes.ociIndex}; charset=utf-8`), mediaTypes.ociIndex);
  t.equal(mediaTypeOfHeader('Application/VND.oci.image.index.v1+JSON'), mediaTypes.ociIndex);
  for (const header of [undefined, '', ' ', 'application/json', 'text/plain; charset=utf-8']) {
    t.equal(mediaTypeOfHeader(header), undefined);
  }
});

t.test('nested indexes are listed within bounds', async (t) => {
  const parsed = read(index);
  const [first] = parsed.kind === 'index' ? parsed.manifests : [];
  if (parsed.kind !== 'index' || !first) throw new Error('not an index of one');
  const platform = { os: 'linux', architecture: 'arm64' };
  const nested: Descriptor = { ...first, mediaType: mediaTypes.ociIndex, platform };
  const outer: ImageIndex = { kind: 'index', mediaType: mediaTypes.ociIndex, manifests: [nested] };
  t.match(await listManifests(outer, async () => parsed), [{ ...entry, platform }]);
  t.equal((await listManifests(parsed, async () => parsed)).length, 1);
  await t.rejects(
    listManifests(outer, async () => outer),
    { code: 'corrupt', message: /deeper than 4/ },
  );
  const wide = { ...outer, manifests: Array.from({ length: 1001 }, () => nested) };
  const empty = { ...outer, manifests: [] };
  await t.rejects(
    listManifests(wide, async () => empty),
    { code: 'corrupt', message: /more than 1000/ },
  );
});

/** A well-formed document with something changed, or any JSON, or any bytes. */
const documents = fc.oneof(
  fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
  fc.json().map((text) => Buffer.from(text)),
  fc
    .tuple(
      fc.constantFrom(image, index),
      fc.constantFrom(
        'schemaVersion',
        'mediaType',
        'config',
        'layers',
        'manifests',
        'subject',
        'annotations',
        '__proto__',
      ),
      fc.oneof(
        fc.jsonValue(),
        fc.constantFrom(config, [layer], [entry], [null], mediaTypes.dockerIndex),
      ),
    )
    .map(([document, key, value]) => Buffer.from(JSON.stringify({ ...document, [key]: value }))),
);

t.test('any bytes give a document of the type that was asked for, or one error', async () => {
  const type = fc.constantFrom(undefined, ...Object.values(mediaTypes));
  fc.assert(
    fc.property(documents, type, (bytes, type) => {
      try {
        const found = parseManifest(bytes, type);
        return type === undefined || found.mediaType === type;
      } catch (error) {
        return isThinError(error, 'corrupt', 'invalid');
      }
    }),
    { numRuns: 3000 },
  );
});
