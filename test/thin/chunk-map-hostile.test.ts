import t from 'tap';
import { digestFromBytes, digestSize } from '../../src/digest.js';
import { isThinError } from '../../src/errors.js';
import { ChunkMap } from '../../src/thin/chunk-map.js';
import { encodeChunkMap } from '../../src/thin/chunk-map-encoder.js';
import {
  type Counts,
  chunkMapSize,
  headerFields,
  type SectionName,
  sectionsOf,
} from '../../src/thin/chunk-map-layout.js';
import { DigestIndex } from '../../src/thin/digest-index.js';
import fc from '../support/properties.js';
import { madeUpFiles } from './made-up-chunks.js';

const good = encodeChunkMap(madeUpFiles());
/** Of {@link good}: two packs, three frames, five chunks, two files with five and three of them. */
const counts: Counts = { packs: 2, frames: 3, chunks: 5, files: 2, references: 8 };

/** A copy with something changed in one section. */
function changed(section: SectionName, change: (bytes: Buffer) => void): Buffer {
  const copy = Buffer.from(good);
  change(sectionsOf(copy, counts)[section]);
  return copy;
}

const u32 = (section: SectionName, row: number, value: number) =>
  changed(section, (bytes) => bytes.writeUInt32LE(value, row * 4));

const u64 = (section: SectionName, offset: number, value: bigint) =>
  changed(section, (bytes) => bytes.writeBigUInt64LE(value, offset));

function headed(field: keyof typeof headerFields, value: number): Buffer {
  const copy = Buffer.from(good);
  copy.writeUInt32LE(value, headerFields[field]);
  return copy;
}

t.test('the example is as it is described', async (t) => {
  t.equal(good.length, chunkMapSize(counts));
  t.ok(ChunkMap.parse(good));
});

t.test('a newer version is told apart from nonsense', async (t) => {
  t.throws(() => ChunkMap.parse(headed('version', 2)), {
    code: 'invalid',
    message: /version 2 \(wanted at most 1\).*newer thinfs/,
  });
  t.throws(() => ChunkMap.parse(headed('version', 0)), { code: 'corrupt' });
});

t.test('every rule of the format', async (t) => {
  const copy = (bytes: Buffer, from: number, to: number) =>
    bytes.copyWithin(to * digestSize, from * digestSize, (from + 1) * digestSize);
  const broken: Record<string, Buffer> = {
    nothing: Buffer.alloc(0),
    'half a header': good.subarray(0, 31),
    'wrong magic': Buffer.concat([Buffer.from('x'), good.subarray(1)]),
    'one byte less': good.subarray(0, -1),
    'one byte more': Buffer.concat([good, Buffer.alloc(1)]),
    'a pack twice': changed('packs', (rows) => rows.copy(rows, 48, 0, 32)),
    'a pack of no frames': changed('packs', (rows) => rows.writeUInt32LE(0, 40)),
    'a pack of too many frames': changed('packs', (rows) => rows.writeUInt32LE(3, 40)),
    'frames of no pack': changed('packs', (rows) => rows.writeUInt32LE(1, 40)),
    'a row padded with something': changed('packs', (rows) => rows.writeUInt32LE(1, 44)),
    'a pack shorter than its frames': u64('packs', 32, 799n),
    'a pack of 2^53 bytes': u64('packs', 32, 2n ** 53n),
    'a pack of 2^64 - 1 bytes': u64('packs', 32, 2n ** 64n - 1n),
    'a frame beyond its pack': u64('frameGaps', 0, 5000n),
    'a gap of 2^53 - 1': u64('frameGaps', 8, 2n ** 53n - 1n),
    'a gap of 2^63': u64('frameGaps', 8, 2n ** 63n),
    'an empty frame': u32('frameLengths', 0, 0),
    'a frame of 2^32 - 1 bytes': u32('frameLengths', 0, 2 ** 32 - 1),
    'a frame that compression made longer': u32('frameLengths', 0, 1001),
    'a frame that compression did not change': u32('frameLengths', 0, 1000),
    'a stored frame of two lengths': u32('frameLengths', 1, 99),
    'a frame too large': u32('framePlainLengths', 2, 512 * 1024 + 1),
    'a frame of 2^32 - 1 plain bytes': u32('framePlainLengths', 2, 2 ** 32 - 1),
    'a frame shorter than its chunks': u32('framePlainLengths', 0, 999),
    'a frame of no chunks': u32('frameChunkCounts', 0, 0),
    'a frame of too many chunks': u32('frameChunkCounts', 0, 2 ** 32 - 1),
    'chunks of no frame': u32('frameChunkCounts', 0, 1),
    'an unknown codec': changed('frameCodecs', (bytes) => bytes.writeUInt8(2, 0)),
    'zstd that is stored': changed('frameCodecs', (bytes) => bytes.writeUInt8(0, 0)),
    'a chunk twice': changed('chunkDigests', (bytes) => copy(bytes, 0, 4)),
    'a chunk beyond its frame': u32('chunkGaps', 0, 500),
    'a gap of 2^32 - 1': u32('chunkGaps', 1, 2 ** 32 - 1),
    'an empty chunk': u32('chunkLengths', 0, 0),
    'a chunk too large': u32('chunkLengths', 3, 256 * 1024 + 1),
    'a chunk of 2^32 - 1 bytes': u32('chunkLengths', 0, 2 ** 32 - 1),
    'a file twice': changed('fileDigests', (bytes) => copy(bytes, 0, 1)),
    'files out of order': changed('fileDigests', (bytes) => bytes.fill(0, digestSize)),
    'a file that is a chunk too': changed('fileDigests', (bytes) => {
      sectionsOf(good, counts).chunkDigests.copy(bytes, 0, 0, digestSize);
      bytes.fill(0xff, digestSize);
    }),
    'a file of one chunk among those of several': u32('fileChunkCounts', 0, 1),
    'a file of no chunks': u32('fileChunkCounts', 0, 0),
    'a file of too many chunks': u32('fileChunkCounts', 0, 2 ** 32 - 1),
    'a reference to a chunk that is not there': u32('references', 3, 5),
    'a reference below zero': u32('references', 0, 2 ** 32 - 1),
    'bits of chunks that are not there': changed('wholeFileBits', (bytes) =>
      bytes.writeUInt8((bytes[0] ?? 0) | 0x20, 0),
    ),
  };
  for (const [what, bytes] of Object.entries(broken)) {
    t.throws(() => ChunkMap.parse(bytes), { code: 'corrupt' }, what);
  }
});

t.test('counts of any size are refused before anything is made of them', async (t) => {
  const fields = ['packs', 'frames', 'chunks', 'files', 'references'] as const;
  for (const field of fields) {
    for (const value of [0, 1, 2 ** 16, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1]) {
      if (value === counts[field]) continue;
      t.throws(
        () => ChunkMap.parse(headed(field, value)),
        { code: 'corrupt' },
        `${value} ${field}`,
      );
    }
  }
  const all = Buffer.from(good);
  for (const field of fields) all.writeUInt32LE(2 ** 32 - 1, headerFields[field]);
  t.throws(() => ChunkMap.parse(all), { code: 'corrupt' });
});

t.test(
  'one chunk ten million times is one number each, and no more than a file may have',
  async (t) => {
    const bytes = repeating(10_000_000, 1000);
    const map = ChunkMap.parse(bytes);
    const [file] = map.files();
    t.match(file, { size: 10_000_000_000, chunkCount: 10_000_000 });
    const chunk = map.find(madeUpOnes);
    t.ok(chunk && map.placementsIn(chunk.frame).length <= 4096);
    t.throws(() => ChunkMap.parse(repeating(4_200_000, 256 * 1024)), { code: 'corrupt' }, '1.1 TB');
  },
);

/** The only chunk of {@link repeating}. */
const madeUpOnes = digestFromBytes(Buffer.alloc(digestSize, 1));

/** A map of one file that is one chunk of `length` bytes, `times` over. */
function repeating(times: number, length: number): Buffer {
  const own: Counts = { packs: 1, frames: 1, chunks: 1, files: 1, references: times };
  const bytes = Buffer.alloc(chunkMapSize(own));
  good.copy(bytes, 0, 0, 12);
  for (const [field, offset] of Object.entries(headerFields)) {
    if (field !== 'version') bytes.writeUInt32LE(Reflect.get(own, field), offset);
  }
  const sections = sectionsOf(bytes, own);
  sections.packs.writeUInt8(1, 32);
  sections.packs.writeUInt32LE(1, 40);
  sections.frameLengths.writeUInt32LE(1);
  sections.framePlainLengths.writeUInt32LE(length);
  sections.frameChunkCounts.writeUInt32LE(1);
  sections.chunkDigests.fill(1);
  sections.chunkLengths.writeUInt32LE(length);
  sections.fileDigests.fill(2);
  sections.fileChunkCounts.writeUInt32LE(times);
  sections.references.fill(0xff);
  sections.references.writeUInt32LE(0);
  sections.frameCodecs.writeUInt8(1);
  return bytes;
}

/** Reads everything that a map can be asked. */
function readAll(map: ChunkMap): boolean {
  for (const { content, size } of map.files()) {
    const chunks = map.chunksOf(content) ?? [];
    if (chunks.reduce((sum, chunk) => sum + chunk.length, 0) !== size) return false;
    for (const chunk of chunks) {
      const places = map.placementsIn(chunk.frame);
      if (!places.some((place) => place.content === content)) return false;
    }
  }
  return true;
}

const total = (bytes: Buffer) => {
  try {
    return readAll(ChunkMap.parse(bytes));
  } catch (error) {
    return isThinError(error, 'corrupt', 'invalid');
  }
};

t.test('any bytes are a chunk map or an error', async (t) => {
  const edges = [0, 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 600, 1000, 65_536, 2 ** 18, 2 ** 19];
  const value = fc.oneof(fc.constantFrom(...edges), fc.nat(2 ** 32 - 1), fc.nat(16));
  const writes = fc.array(fc.tuple(fc.nat(good.length - 4), value), { minLength: 1, maxLength: 4 });
  const mutated = writes.map((list) => {
    const copy = Buffer.from(good);
    for (const [at, number] of list) copy.writeUInt32LE(number, at);
    return copy;
  });
  fc.assert(fc.property(mutated, total), { numRuns: 5000 });
  const cut = fc.nat(good.length).map((length) => good.subarray(0, length));
  fc.assert(fc.property(cut, total), { numRuns: 200 });
  const random = fc.uint8Array({ maxLength: 300 }).map((bytes) => {
    const copy = Buffer.concat([good.subarray(0, 12), bytes]);
    return copy;
  });
  fc.assert(fc.property(random, total), { numRuns: 1000 });
  t.pass();
});

t.test('digests chosen to collide do not slow the index down', async (t) => {
  const rows = 200_000;
  const column = Buffer.alloc(rows * digestSize);
  for (let row = 0; row < rows; row++) column.writeUInt32LE(row, row * digestSize + 28);
  const index = DigestIndex.build(column);
  if (!(index instanceof DigestIndex)) throw new Error('no digest is there twice');
  for (const row of [0, 1, rows - 1]) t.equal(index.findBytes(column, row * digestSize), row);
  t.equal(index.findBytes(Buffer.alloc(digestSize, 7), 0), -1);
  column.copy(column, 77 * digestSize, 5 * digestSize, 6 * digestSize);
  t.strictSame(DigestIndex.build(column), { duplicate: 77 });
});
