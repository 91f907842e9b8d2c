import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { FileOrigin, FileRef, Placement } from '../../src/cache/file-origin.js';
import { FrameFlights } from '../../src/cache/frame-flights.js';
import type { Chunk, Frame } from '../../src/chunk/frame.js';
import { type Digest, digestOf } from '../../src/digest.js';
import { openCache, scratchDirectory, signal, until } from './cache-rig.js';
import { MemoryOrigin } from './memory-origin.js';
import { wrongTierFiles } from './tier-listing.js';

/** An image whose chunk map says what it likes about the content of another's file. */
class LyingOrigin implements FileOrigin {
  readonly id = 'lying';
  readonly #file: FileRef;
  readonly #inner: MemoryOrigin;
  readonly #real: Digest;

  /** Gives out `evil`, in chunks that are all what they should be, as the content of `file`. */
  constructor(file: FileRef, evil: Buffer, chunkBytes: number) {
    this.#file = file;
    this.#inner = new MemoryOrigin('lying', [evil], chunkBytes, 16_384);
    this.#real = digestOf(evil);
  }

  chunksOf(content: Digest): readonly Chunk[] | undefined {
    return content === this.#file.content ? this.#inner.chunksOf(this.#real) : undefined;
  }

  placementsIn(frame: Frame): Placement[] {
    const size = this.#file.size;
    return this.#inner
      .placementsIn(frame)
      .map((placement) => ({ ...placement, content: this.#file.content, size }));
  }

  fetchFrame(frame: Frame, signal: AbortSignal): Promise<Buffer> {
    return this.#inner.fetchFrame(frame, signal);
  }
}

t.test('a chunk map that lies about a content poisons no other image', async (t) => {
  for (const [what, chunkBytes] of [
    ['in many chunks', 4096],
    ['in one chunk', 100_000],
  ] as const) {
    const root = join(scratchDirectory(t), 'root');
    const cache = await openCache(t, root);
    const honest = new MemoryOrigin('honest', [randomBytes(60_000)], 4096, 16_384);
    const [file] = honest.refs();
    if (file === undefined) throw new Error('no file');
    const evil = randomBytes(60_000);
    const lying = new LyingOrigin(file, evil, chunkBytes);
    const read = cache.read(file, 0, file.size, lying, signal);
    if (chunkBytes === 4096) t.ok((await read).equals(evil), 'its own chunks are its own affair');
    else await t.rejects(read, { code: 'corrupt', message: /contradicts/ });
    await cache.usage();
    t.notOk(existsSync(cache.pathOf(file.content)), `${what}: it never gets the final name`);
    for (let round = 0; round < 2; round++) {
      const bytes = await cache.read(file, 0, file.size, honest, signal);
      t.ok(bytes.equals(honest.bytesOf(file)), `${what}: the honest image reads its own bytes`);
    }
    await until(() => existsSync(cache.pathOf(file.content)));
    t.same(wrongTierFiles(root), []);
    const after = await cache.read(file, 0, file.size, lying, signal);
    t.ok([evil, honest.bytesOf(file)].some((bytes) => bytes.equals(after)));
    const still = await cache.read(file, 0, file.size, honest, signal);
    t.ok(still.equals(honest.bytesOf(file)), `${what}: and goes on doing so`);
    t.equal((await cache.usage()).wrongFiles, 0, 'the good file is not thrown out either');
  }
});

t.test('a complete large file is not thrown out because one image lies about it', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const honest = new MemoryOrigin('honest', [randomBytes(2_500_000)], 65_536, 262_144);
  const [file] = honest.refs();
  if (file === undefined) throw new Error('no file');
  {
    const cache = await openCache(t, root);
    await cache.read(file, 0, file.size, honest, signal);
    await until(() => existsSync(cache.pathOf(file.content)));
    await cache[Symbol.asyncDispose]();
  }
  const cache = await openCache(t, root);
  const lying = new LyingOrigin(file, randomBytes(2_500_000), 65_536);
  const bytes = await cache.read(file, 1000, 5000, lying, signal);
  t.ok(bytes.equals(honest.bytesOf(file).subarray(1000, 6000)), 'the content is what counts');
  t.ok(existsSync(cache.pathOf(file.content)));
});

t.test('chunk lists that contradict the file are refused', async (t) => {
  const cache = await openCache(t, join(scratchDirectory(t), 'root'));
  const honest = new MemoryOrigin('honest', [randomBytes(10_000)], 4096, 16_384);
  const [file] = honest.refs();
  if (file === undefined) throw new Error('no file');
  const chunks = honest.chunksOf(file.content) ?? [];
  const [first] = chunks;
  if (first === undefined) throw new Error('no chunk');
  for (const lie of [
    [],
    chunks.slice(1),
    [...chunks, first],
    [{ ...first, length: 0 }, ...chunks],
    [{ ...first, length: -4096 }, ...chunks, first],
    [{ ...first, length: Number.NaN }],
    [{ ...first, length: 10_000 }],
  ]) {
    const origin: FileOrigin = {
      id: `lie ${lie.length} ${lie[0]?.length}`,
      chunksOf: () => lie,
      placementsIn: (frame) => honest.placementsIn(frame),
      fetchFrame: (frame, signal) => honest.fetchFrame(frame, signal),
    };
    await t.rejects(cache.read(file, 0, 10, origin, signal), { code: 'corrupt' });
  }
});

t.test('an image that gives a file another size than it has is told so', async (t) => {
  const cache = await openCache(t, join(scratchDirectory(t), 'root'));
  const honest = new MemoryOrigin('honest', [randomBytes(10_000)], 4096, 16_384);
  const [file] = honest.refs();
  if (file === undefined) throw new Error('no file');
  await cache.read(file, 0, 10_000, honest, signal);
  await until(() => existsSync(cache.pathOf(file.content)));
  const larger = { ...file, size: 20_000 };
  await t.rejects(cache.read(larger, 0, 20_000, honest, signal), { code: 'corrupt' });
  t.ok(existsSync(cache.pathOf(file.content)));
});

t.test('placements that lie are of no effect', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const cache = await openCache(t, root);
  const honest = new MemoryOrigin('honest', [randomBytes(10_000), randomBytes(500)], 4096, 65_536);
  const [file, small] = honest.refs();
  if (file === undefined || small === undefined) throw new Error('no file');
  const claimed = digestOf(Buffer.from('what another image has'));
  const origin: FileOrigin = {
    id: 'lying placements',
    chunksOf: (content) => honest.chunksOf(content),
    placementsIn: (frame) =>
      honest
        .placementsIn(frame)
        .flatMap((placement) => [
          { ...placement, content: claimed },
          { ...placement, content: claimed, size: placement.chunk.length },
          { ...placement, offsetInFile: placement.offsetInFile + 1 },
          { ...placement, offsetInFile: Number.MAX_SAFE_INTEGER },
          { ...placement, offsetInFile: -1 },
          placement,
        ]),
    fetchFrame: (frame, signal) => honest.fetchFrame(frame, signal),
  };
  const bytes = await cache.read(file, 0, 10_000, origin, signal);
  t.ok(bytes.equals(honest.bytesOf(file)));
  await until(async () => cache.has(small.content));
  t.notOk(await cache.has(claimed));
  t.same(wrongTierFiles(root), []);
});

t.test('a chunk that recurs without end does not fill the disk at one read', async (t) => {
  const cache = await openCache(t, join(scratchDirectory(t), 'root'));
  const origin = new MemoryOrigin('zeros', [Buffer.alloc(40_000_000)], 65_536, 262_144);
  const [file] = origin.refs();
  if (file === undefined) throw new Error('no file');
  const everywhere: FileOrigin = {
    id: 'everywhere',
    chunksOf: (content) => origin.chunksOf(content),
    fetchFrame: (frame, signal) => origin.fetchFrame(frame, signal),
    placementsIn: (frame) => {
      const chunks = origin.chunksOf(file.content) ?? [];
      const [first] = origin.placementsIn(frame);
      if (first === undefined) return [];
      return chunks
        .filter(({ length }) => length === 65_536)
        .map((_, at) => ({ ...first, offsetInFile: at * 65_536 }));
    },
  };
  const bytes = await cache.read(file, 0, 65_536, everywhere, signal);
  t.ok(bytes.equals(Buffer.alloc(65_536)));
  await until(async () => (await cache.usage()).bytes > 0);
  t.ok((await cache.usage()).bytes <= 4_300_000);
});

t.test('a frame that arrived wrong is not kept while a start is learned', async (t) => {
  const flights = new FrameFlights(async () => false);
  const inner = new MemoryOrigin('learned', [randomBytes(10_000)], 4096, 16_384);
  const [file] = inner.refs();
  const [chunk] = file === undefined ? [] : (inner.chunksOf(file.content) ?? []);
  if (file === undefined || chunk === undefined) throw new Error('no chunk');
  const origin: FileOrigin = {
    id: 'learned',
    isLearning: () => true,
    chunksOf: (content) => inner.chunksOf(content),
    placementsIn: (frame) => inner.placementsIn(frame),
    fetchFrame: (frame, signal) => inner.fetchFrame(frame, signal),
  };
  inner.tamper = (bytes) => {
    if (inner.fetched.length <= 2) bytes.writeUInt8(bytes.readUInt8(0) ^ 1, 0);
    return bytes;
  };
  const placement = { ...file, offsetInFile: 0, chunk };
  await t.rejects(flights.chunk(origin, placement, signal), { code: 'corrupt' });
  await flights.settled();
  t.notOk(flights.isKnown(origin, chunk.frame, 0), 'it has not come');
  const bytes = await flights.chunk(origin, placement, signal);
  t.ok(bytes.equals(inner.bytesOf(file).subarray(0, 4096)), 'the next read fetches it anew');
  await flights.settled();
  await flights.chunk(origin, placement, signal);
  t.equal(inner.fetched.length, 3, 'and the good one is kept');
});
