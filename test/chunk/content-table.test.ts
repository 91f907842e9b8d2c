import { randomBytes } from 'node:crypto';
import t from 'tap';
import { ContentTable } from '../../src/chunk/content-table.js';
import { DigestTable } from '../../src/chunk/digest-table.js';
import type { Chunk, FileChunks, Frame } from '../../src/chunk/frame.js';
import { type Digest, digestFromBytes, digestOf } from '../../src/digest.js';

const named = (name: string): Digest => digestOf(Buffer.from(name));
const frame: Frame = { pack: named('pack'), offset: 10, length: 5, plainLength: 9, codec: 'zstd' };
const chunk = (name: string, length = 3, place: Frame = frame): Chunk => ({
  digest: named(name),
  length,
  frame: place,
  offsetInFrame: 4,
});
const fileOf = (name: string, ...chunks: Chunk[]): FileChunks => ({
  content: named(name),
  size: chunks.reduce((sum, { length }) => sum + length, 0),
  chunks,
});

t.test('digests are numbered in the order in which they come, each once', async (t) => {
  const table = new DigestTable();
  const digests = Array.from({ length: 20_000 }, () => digestFromBytes(randomBytes(32)));
  const rows = [...digests, ...digests].map((digest) => table.add(digest));
  const numbers = digests.map((_, row) => row);
  t.same(rows, [...numbers, ...numbers]);
  t.equal(table.size, digests.length);
  t.ok(digests.every((digest, row) => table.find(digest) === row && table.at(row) === digest));
  t.equal(table.find(named('absent')), -1);
  const sorted = numbers.sort((a, b) => table.compare(a, b)).map((row) => table.at(row));
  t.same(
    sorted,
    digests.sort((a, b) => (a < b ? -1 : 1)),
  );
});

t.test('digests that begin alike are told apart, and found quickly', async (t) => {
  const table = new DigestTable();
  const alike = Array.from({ length: 2000 }, (_, i) => {
    const bytes = Buffer.alloc(32);
    bytes.writeUInt32BE(i, 28);
    return digestFromBytes(bytes);
  });
  for (const digest of alike) table.add(digest);
  t.ok(alike.every((digest, row) => table.find(digest) === row));
});

t.test('files come back as they were taken, each content once', async (t) => {
  const other = { ...frame, offset: 20 };
  const files = [
    fileOf('one', chunk('one')),
    fileOf('several', chunk('a', 7), chunk('b', 1, other), chunk('a', 7)),
    fileOf('shared', chunk('b', 1, other), chunk('one')),
  ];
  const table = new ContentTable();
  for (const file of [...files, ...files]) table.takeFile(file);
  t.strictSame([...table], files);
  t.equal(table.chunkCount, 3);
  t.equal(table.frameCount, 2, 'frames too');
  t.equal(table.findFile(named('a')), -1, 'a chunk is no file');
  t.equal(table.findChunk(named('several')), -1, 'nor the reverse');
});

t.test('where a chunk was known before wins', async (t) => {
  const table = new ContentTable();
  table.takeFile(fileOf('x', chunk('a')));
  table.takeFile(fileOf('y', chunk('a', 3, { ...frame, pack: named('later') }), chunk('b')));
  t.strictSame(table.fileAt(1).chunks, [chunk('a'), chunk('b')]);
});

t.test('what contradicts itself is refused', async (t) => {
  const table = new ContentTable();
  table.takeFile(fileOf('x', chunk('a')));
  t.throws(() => table.takeChunk(chunk('a', 4)), { code: 'invalid' });
  const wrong = { ...frame, plainLength: 8 };
  t.throws(() => table.takeChunk(chunk('b', 3, wrong)), { code: 'invalid' });
});

t.test('a frame may be placed later', async (t) => {
  const table = new ContentTable();
  const row = table.reserveFrame();
  table.addFile(named('x'), [table.addChunk(named('a'), 3, row, 4)]);
  t.throws(() => [...table], { code: 'invalid' });
  table.placeFrame(row, frame);
  t.strictSame([...table], [fileOf('x', chunk('a'))]);
});
