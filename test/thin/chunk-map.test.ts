import { randomBytes } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import type { Chunk, FileChunks } from '../../src/chunk/frame.js';
import { type Digest, digestFromBytes } from '../../src/digest.js';
import { isThinError } from '../../src/errors.js';
import { ChunkMap, placementsPerChunkMax } from '../../src/thin/chunk-map.js';
import { encodeChunkMap } from '../../src/thin/chunk-map-encoder.js';
import {
  madeUpChunk,
  madeUpDigest,
  madeUpFile,
  madeUpFiles,
  madeUpFrame,
} from './made-up-chunks.js';

const code = (wanted: string) => (error: unknown) => isThinError(error) && error.code === wanted;

t.test('what is written is read back', async (t) => {
  const { files, packs } = madeUpFiles();
  const map = ChunkMap.parse(encodeChunkMap({ files, packs }));
  t.strictSame(map.packs, packs);
  for (const file of files) {
    t.strictSame(map.chunksOf(file.content), file.chunks, `chunks of ${file.content}`);
    for (const chunk of file.chunks) t.strictSame(map.find(chunk.digest), chunk);
  }
  const summaries = files.map(({ content, size, chunks }) => ({
    content,
    size,
    chunkCount: chunks.length,
  }));
  const byContent = (a: { content: string }, b: { content: string }) =>
    a.content < b.content ? -1 : 1;
  const listed = [...map.files()];
  const { digests, sizes } = map.fileColumns();
  t.strictSame(
    Array.from(sizes, (size, row) => ({ content: digestFromBytes(digests, 32 * row), size })),
    listed.map(({ content, size }) => ({ content, size })),
  );
  t.equal(digests.length, 32 * files.length);
  const fileBytes = files.reduce((sum, { size }) => sum + size, 0);
  t.strictSame(map.fileTotals(), { files: files.length, fileBytes });
  t.strictSame(listed.sort(byContent), summaries.sort(byContent));
});

t.test('what is not there is not found', async (t) => {
  const { files, packs } = madeUpFiles();
  const map = ChunkMap.parse(encodeChunkMap({ files, packs }));
  t.equal(map.chunksOf(madeUpDigest('nothing')), undefined);
  t.equal(map.chunksOf(madeUpDigest('tail')), undefined, 'a chunk is not a file by being one');
  t.equal(map.find(madeUpDigest('large')), undefined, 'nor a file a chunk');
  const elsewhere = madeUpFrame(madeUpDigest('another pack'));
  t.strictSame(map.placementsIn(elsewhere), []);
  t.strictSame(
    map.placementsIn({ ...elsewhere, pack: packs[0]?.digest ?? elsewhere.pack, offset: 7 }),
    [],
  );
});

t.test('every chunk of a frame has its places', async (t) => {
  const { files, packs } = madeUpFiles();
  const map = ChunkMap.parse(encodeChunkMap({ files, packs }));
  const wanted = files.flatMap(placesOf);
  const frames = new Set(files.flatMap((file) => file.chunks).map((chunk) => chunk.frame));
  const found = [...frames].flatMap((frame) => map.placementsIn(frame));
  t.equal(found.length, wanted.length);
  const sorted = (places: unknown[]) => places.map((place) => JSON.stringify(place)).sort(byText);
  t.strictSame(sorted(found), sorted(wanted));
});

function placesOf({ content, size, chunks }: FileChunks) {
  let offset = 0;
  return chunks.map((chunk) => {
    offset += chunk.length;
    return { content, size, offsetInFile: offset - chunk.length, chunk };
  });
}

t.test('a chunk that recurs too often has bounded places', async (t) => {
  const pack = { digest: madeUpDigest('pack'), size: 1000 };
  const zeros = madeUpChunk('zeros', madeUpFrame(pack.digest), 0, 1000);
  const file = madeUpFile('sparse', Array<Chunk>(placementsPerChunkMax + 1).fill(zeros));
  const map = ChunkMap.parse(encodeChunkMap({ files: [file], packs: [pack] }));
  t.equal(map.placementsIn(zeros.frame).length, placementsPerChunkMax);
  t.equal(map.chunksOf(file.content)?.length, placementsPerChunkMax + 1);
});

t.test('an image of empty files has an empty map', async (t) => {
  const map = ChunkMap.parse(encodeChunkMap({ files: [], packs: [] }));
  t.strictSame([...map.files()], []);
  t.equal(map.fileColumns().sizes.length, 0);
  t.equal(map.chunksOf(madeUpDigest('x')), undefined);
});

t.test(
  'the same content gives the same bytes, and needs no pack that it does not use',
  async (t) => {
    const { files, packs } = madeUpFiles();
    const bytes = encodeChunkMap({ files, packs });
    const unused = { digest: madeUpDigest('unused'), size: 1 };
    t.same(encodeChunkMap({ files: [...files, ...files], packs: [...packs, unused] }), bytes);
  },
);

t.test('the encoder refuses what does not add up', async (t) => {
  const pack = { digest: madeUpDigest('pack'), size: 5000 };
  const frame = madeUpFrame(pack.digest);
  const one = madeUpChunk('one', frame, 0, 10);
  const refused: Record<string, FileChunks[]> = {
    'a wrong size': [{ ...madeUpFile('x', [one]), size: 11 }],
    'no chunks': [{ content: madeUpDigest('x'), size: 0, chunks: [] }],
    'another digest than its only chunk': [
      { ...madeUpFile('x', [one]), content: madeUpDigest('y') },
    ],
    'overlapping chunks': [madeUpFile('x', [one, madeUpChunk('two', frame, 9, 10)])],
    'overlapping frames': [
      madeUpFile('x', [one, madeUpChunk('two', { ...frame, offset: 599 }, 0, 10)]),
    ],
    'two frames at one offset': [
      madeUpFile('x', [one, madeUpChunk('two', { ...frame, length: 599 }, 0, 10)]),
    ],
    'a chunk of two lengths': [madeUpFile('x', [one, { ...one, length: 9 }])],
    'a pack that is not given': [
      madeUpFile('x', [madeUpChunk('two', madeUpFrame(madeUpDigest('other')), 0, 10)]),
    ],
  };
  for (const [what, files] of Object.entries(refused)) {
    try {
      encodeChunkMap({ files, packs: [pack] });
      t.fail(what);
    } catch (error) {
      t.ok(code('invalid')(error), what);
    }
  }
});

t.test('a million chunks fit', async (t) => {
  const pack = { digest: madeUpDigest('pack'), size: 2 ** 40 };
  const files = millionChunks(pack.digest);
  const bytes = encodeChunkMap({ files, packs: [pack] });
  const before = memoryInUse();
  const map = ChunkMap.parse(bytes);
  const after = memoryInUse();
  const grown = after - before;
  t.ok(bytes.length < 50 * 2 ** 20, `${bytes.length} bytes`);
  t.ok(grown < 32 * 2 ** 20, `parsing keeps ${grown} bytes beside them`);
  const [file] = files.slice(-1);
  t.strictSame(map.chunksOf(file?.content ?? madeUpDigest('')), file?.chunks);
});

/** Bytes, without what nobody can reach any more. */
function memoryInUse(): number {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

function millionChunks(pack: Digest): FileChunks[] {
  const digests = randomBytes(32 * 1_000_000);
  return Array.from({ length: 1000 }, (_, file) => {
    const chunks = Array.from({ length: 1000 }, (_, at): Chunk => {
      const row = file * 1000 + at;
      const frame = madeUpFrame(pack, { offset: Math.floor(row / 4) * 1000 });
      const digest = digestFromBytes(digests, row * 32);
      return { digest, length: 250, frame, offsetInFrame: (row % 4) * 250 };
    });
    return madeUpFile(`file ${file}`, chunks);
  });
}

function byText(a: string, b: string): number {
  return a < b ? -1 : 1;
}
