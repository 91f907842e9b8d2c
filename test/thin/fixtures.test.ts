/**
 * Reads `fixtures/thin/v<version>/` of every version. `node --import tsx
 * test/thin/fixtures.test.ts --make` has made them, with the code of their version; they are never
 * made again.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { digestOf } from '../../src/digest.js';
import { ChunkMap } from '../../src/thin/chunk-map.js';
import { encodeChunkMap } from '../../src/thin/chunk-map-encoder.js';
import { encodeThinDescriptor, parseThinDescriptor } from '../../src/thin/descriptor.js';
import { madeUpDigest, madeUpFiles } from './made-up-chunks.js';
import { amd64 } from './small-image.js';

const folder = join(import.meta.dirname, '../../fixtures/thin/v1');
const read = (name: string) => readFileSync(join(folder, name));

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

t.test('they are what is written today, too', async (t) => {
  t.ok(encodeThinDescriptor(contentOf(read('manifest.json'))).equals(read('descriptor.json')));
  t.ok(encodeChunkMap(madeUpFiles()).equals(read('chunk-map')));
});
