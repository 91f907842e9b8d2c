import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { digestOf, parseDigest } from '../../src/digest.js';
import { fixtureFolder, fixtureInputs, fixtureList } from './pack-fixture.js';
import { packFiles, temporaryFolder, unpackChunk } from './packed-files.js';

const pack = readFileSync(join(fixtureFolder, 'pack'));
const list = fixtureList.parse(
  JSON.parse(readFileSync(join(fixtureFolder, 'contents.json'), 'utf8')),
);

t.test('a pack of version 1 is read', async (t) => {
  t.same({ digest: digestOf(pack), size: pack.length }, list.pack);
  for (const { content, size, chunks } of list.files) {
    const plain: Buffer[] = [];
    for (const { digest, frame, ...place } of chunks) {
      const inPack = { ...frame, pack: digestOf(pack) };
      const bytes = await unpackChunk(pack, {
        ...place,
        digest: parseDigest(digest),
        frame: inPack,
      });
      t.equal(digestOf(bytes), digest);
      plain.push(bytes);
    }
    t.equal(digestOf(Buffer.concat(plain)), content);
    t.equal(Buffer.concat(plain).length, size);
  }
});

t.test('the same files are cut and grouped as in version 1', async (t) => {
  const path = join(temporaryFolder(t), 'pack');
  const result = await packFiles(fixtureInputs, { path });
  // Compressed lengths are libzstd's affair, everything else is ours.
  const ours = (files: typeof list.files) =>
    files.map((file) => ({
      ...file,
      chunks: file.chunks.map(({ frame: { plainLength, codec }, ...chunk }) => ({
        ...chunk,
        plainLength,
        codec,
      })),
    }));
  t.same(ours(fixtureList.parse(result).files), ours(list.files));
});
