/**
 * Reads `fixtures/thin/v<version>/` of every version. `node --import tsx
 * test/thin/fixtures.test.ts --make` has made them, with the code of their version; they are never
 * made again.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { digestOf } from '../../src/digest.js';
import { redirectEntryHead } from '../../src/metadata/file-xattrs.js';
import { redirectTo } from '../../src/metadata/overlay-xattrs.js';
import { fromBareMetadata, toBareMetadata } from '../../src/thin/bare-metadata.js';
import { ChunkMap } from '../../src/thin/chunk-map.js';
import { encodeChunkMap } from '../../src/thin/chunk-map-encoder.js';
import { encodeThinDescriptor, parseThinDescriptor } from '../../src/thin/descriptor.js';
import { madeUpDigest, madeUpFiles } from './made-up-chunks.js';
import { amd64 } from './small-image.js';

const folder = join(import.meta.dirname, '../../fixtures/thin/v1');
const folder2 = join(import.meta.dirname, '../../fixtures/thin/v2');
const read = (name: string) => readFileSync(join(folder, name));
const read2 = (name: string) => readFileSync(join(folder2, name));

/** What the fixtures of version 1 say. */
const config = Buffer.from(
  `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["${madeUpDigest('diff')}"]}}`,
);
const wire = (name: string) => ({
  digest: madeUpDigest(`${name} on the wire`),
  size: 2000,
  plainDigest: madeUpDigest(name),
  plainSize: 40_960,
});

function contentOf(manifest: Buffer) {
  return {
    manifest: { mediaType: 'application/vnd.oci.image.manifest.v1+json', bytes: manifest },
    config,
    platform: amd64,
    metadata: wire('metadata'),
    chunkMap: wire('chunk map'),
    packs: madeUpFiles().packs,
    hotList: wire('hot list'),
  };
}

if (process.argv.includes('--make') && !existsSync(folder)) {
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: {
        mediaType: 'application/vnd.oci.image.config.v1+json',
        digest: digestOf(config),
        size: config.length,
      },
      layers: [
        {
          mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
          digest: madeUpDigest('layer'),
          size: 1234,
        },
      ],
    }),
  );
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'manifest.json'), manifest);
  writeFileSync(join(folder, 'descriptor.json'), encodeThinDescriptor(contentOf(manifest)));
  writeFileSync(join(folder, 'chunk-map'), encodeChunkMap(madeUpFiles()));
}

/** What the fixtures of version 2 say: metadata of each file of the chunk map, the last one twice. */
function metadataOfFiles(): Buffer {
  const contents = madeUpFiles().files.map(({ content }) => content);
  return Buffer.concat(
    [...contents, ...contents.slice(-1)].flatMap((content, at) => [
      Buffer.from(`inode ${at}`),
      redirectEntryHead,
      Buffer.from(redirectTo(content)),
    ]),
  );
}

function contentOf2() {
  const metadata = metadataOfFiles();
  const bareSize = metadata.length + 4 * 5;
  const plain = { plainDigest: digestOf(metadata), plainSize: metadata.length };
  const content = contentOf(read('manifest.json'));
  return { ...content, metadata: { ...content.metadata, ...plain, bareSize } };
}

if (process.argv.includes('--make') && !existsSync(folder2)) {
  mkdirSync(folder2);
  writeFileSync(join(folder2, 'descriptor.json'), encodeThinDescriptor(contentOf2()));
  const bare = toBareMetadata(metadataOfFiles(), ChunkMap.parse(read('chunk-map')));
  writeFileSync(join(folder2, 'bare-metadata'), bare ?? '');
}

t.test('the descriptor of version 1', async (t) => {
  const content = contentOf(read('manifest.json'));
  const descriptor = parseThinDescriptor(read('descriptor.json'));
  t.equal(descriptor.version, 1);
  t.equal(descriptor.image.manifest.text, content.manifest.bytes.toString());
  t.equal(descriptor.image.config.text, content.config.toString());
  t.match(descriptor.image.layers, [
    { diffId: madeUpDigest('diff'), descriptor: { digest: madeUpDigest('layer'), size: 1234 } },
  ]);
  const { platform, metadata, chunkMap, packs, hotList } = content;
  t.match(descriptor, { image: { platform }, metadata, chunkMap, packs, hotList });
});

t.test('the chunk map of version 1', async (t) => {
  const { files, packs } = madeUpFiles();
  const map = ChunkMap.parse(read('chunk-map'));
  t.strictSame(map.packs, packs);
  for (const { content, chunks } of files) t.strictSame(map.chunksOf(content), chunks);
  t.equal([...map.files()].length, files.length);
});

t.test('the descriptor of version 2, and bare metadata', async (t) => {
  const descriptor = parseThinDescriptor(read2('descriptor.json'));
  t.equal(descriptor.version, 2);
  t.strictSame(descriptor.metadata, contentOf2().metadata);
  const map = ChunkMap.parse(read('chunk-map'));
  const { plainSize, plainDigest, bareSize } = descriptor.metadata;
  t.equal(read2('bare-metadata').length, bareSize);
  const metadata = fromBareMetadata(read2('bare-metadata'), plainSize, map);
  t.ok(metadata.equals(metadataOfFiles()));
  t.equal(digestOf(metadata), plainDigest);
});

t.test('they are what is written today, too', async (t) => {
  t.ok(encodeThinDescriptor(contentOf2()).equals(read2('descriptor.json')));
  const bare = toBareMetadata(metadataOfFiles(), ChunkMap.parse(read('chunk-map')));
  t.ok(bare?.equals(read2('bare-metadata')));
  t.ok(encodeThinDescriptor(contentOf(read('manifest.json'))).equals(read('descriptor.json')));
  t.ok(encodeChunkMap(madeUpFiles()).equals(read('chunk-map')));
});
