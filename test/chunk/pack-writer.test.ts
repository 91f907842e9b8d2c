import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { byteStringFromText } from '../../src/byte-string.js';
import { frameBytesMax } from '../../src/chunk/codec.js';
import { cutLengths, uncutBytesMax } from '../../src/chunk/cutter.js';
import type { Chunk } from '../../src/chunk/frame.js';
import { PackWriter } from '../../src/chunk/pack-writer.js';
import { digestOf } from '../../src/digest.js';
import { pseudoRandomBytes, pseudoRandomText } from '../native-bindings/pseudo-random.js';
import fc from '../support/properties.js';
import {
  framesOf,
  type InputFile,
  packFiles,
  sizeOf,
  temporaryFolder,
  unpackChunk,
  unpackFile,
} from './packed-files.js';

const MiB = 1024 * 1024;

const whole = (path: string, content: Buffer): InputFile => ({ path, pieces: [content] });

function contentOf(file: InputFile): Buffer {
  const bytes = file.pieces.map((piece) =>
    typeof piece === 'number' ? Buffer.alloc(piece) : piece,
  );
  return Buffer.concat(bytes);
}

/** Some of everything: empty, small, at the limits, large, repeated, sparse, incompressible. */
const layer: InputFile[] = [
  whole('etc/empty', Buffer.alloc(0)),
  whole('etc/hostname', Buffer.from('host\n')),
  ...Array.from({ length: 60 }, (_, i) =>
    whole(`usr/share/doc/p${i % 7}/f${i}`, pseudoRandomText(i * 631, i)),
  ),
  whole('usr/bin/at-limit', pseudoRandomText(uncutBytesMax, 1)),
  whole('usr/bin/over-limit', pseudoRandomText(uncutBytesMax + 1, 2)),
  whole('usr/bin/large', pseudoRandomText(3 * MiB, 3)),
  whole('usr/bin/small', Buffer.from('between two large files')),
  whole('usr/bin/noise', pseudoRandomBytes(MiB + 17, 4)),
  whole('usr/lib/copy-of-large', pseudoRandomText(3 * MiB, 3)),
  whole('usr/lib/copy-of-hostname', Buffer.from('host\n')),
  {
    path: 'var/sparse',
    pieces: [pseudoRandomText(9000, 5), 5 * MiB, pseudoRandomText(100_000, 6), 300_000],
  },
  { path: 'var/small-hole', pieces: [1000, Buffer.from('x'), 1] },
  { path: 'var/only-hole', pieces: [2 * MiB + 5] },
  whole('var/last-empty', Buffer.alloc(0)),
];

t.test('what goes in comes out, verified chunk by chunk', async (t) => {
  const path = join(temporaryFolder(t), 'pack');
  const result = await packFiles(layer, { path });
  const pack = readFileSync(path);
  t.same(result.pack, { digest: digestOf(pack), size: pack.length });

  const byContent = new Map(result.files.map((file) => [file.content, file]));
  const firstSeen = [...new Set(layer.filter(sizeOf).map((file) => digestOf(contentOf(file))))];
  t.same([...byContent.keys()], firstSeen, 'one entry for each content, in order');
  t.same(
    result.contents,
    layer.map((file) => digestOf(contentOf(file))),
  );
  for (const input of layer.filter(sizeOf)) {
    const content = contentOf(input);
    const file = byContent.get(digestOf(content));
    if (!file) throw new Error(`${input.path} is missing`);
    t.ok((await unpackFile(pack, file)).equals(content), input.path);
    t.same(
      file.chunks.map((chunk) => chunk.length),
      cutLengths(content),
    );
    for (const chunk of file.chunks) {
      t.equal(digestOf(await unpackChunk(pack, chunk)), chunk.digest);
    }
    if (file.chunks.length === 1) t.equal(file.chunks[0]?.digest, file.content);
  }
});

t.test('frames tile the pack, within their bounds', async (t) => {
  const path = join(temporaryFolder(t), 'pack');
  const { files, pack, stats } = await packFiles(layer, { path });
  let end = 0;
  for (const frame of framesOf(files)) {
    t.equal(frame.offset, end);
    t.equal(frame.pack, pack?.digest);
    t.ok(frame.plainLength > 0 && frame.plainLength <= frameBytesMax);
    t.ok(
      frame.codec === 'zstd'
        ? frame.length < frame.plainLength
        : frame.length === frame.plainLength,
    );
    end += frame.length;
  }
  t.equal(end, pack?.size);
  const codecs = new Set(framesOf(files).map((frame) => frame.codec));
  t.same(codecs, new Set(['zstd', 'stored']));

  const distinct = new Map(
    files.flatMap((file) => file.chunks).map((chunk) => [chunk.digest, chunk]),
  );
  const plain = framesOf(files).reduce((sum, frame) => sum + frame.plainLength, 0);
  const lengths = layer.flatMap((file) => cutLengths(contentOf(file)));
  t.same(stats, {
    files: layer.length,
    plainBytes: lengths.reduce((sum, length) => sum + length, 0),
    chunks: lengths.length,
    newChunks: distinct.size,
    newPlainBytes: plain,
  });
});

t.test('no frame mixes large files with others', async (t) => {
  const path = join(temporaryFolder(t), 'pack');
  const { files } = await packFiles(layer, { path });
  for (const frame of framesOf(files)) {
    const users = files.filter((file) => file.chunks.some((chunk) => chunk.frame === frame));
    const large = users.filter((file) => file.size > uncutBytesMax);
    // The zeros of two sparse files are one chunk, in the frame of the first.
    const alone = users.length === 1 || users.every((file) => file.size > 2 * MiB);
    t.ok(large.length === 0 || alone, `${users.length} files, ${large.length} large`);
  }
});

t.test(
  'the pack does not depend on the sizes of writes, on timing, or on how holes come',
  async (t) => {
    const folder = temporaryFolder(t);
    const wanted = await packFiles(layer, { path: join(folder, 'wanted') });
    const split = fc.record({
      size: fc.integer({ min: 1000, max: 3 * MiB }),
      dense: fc.boolean(),
      pauses: fc.array(fc.nat(3), { minLength: 1, maxLength: 20 }),
    });
    await fc.assert(
      fc.asyncProperty(split, async ({ size, dense, pauses }) => {
        const files = layer.map((file) => ({
          path: file.path,
          pieces: (dense ? [contentOf(file)] : file.pieces).flatMap((piece) => parts(piece, size)),
        }));
        let turn = 0;
        const pause = async () => {
          const ticks = pauses[turn++ % pauses.length] ?? 0;
          for (let i = 0; i < ticks; i++) await new Promise(setImmediate);
        };
        const result = await packFiles(files, { path: join(folder, 'split') }, pause);
        t.same(result.pack, wanted.pack);
        t.same(result.files, wanted.files);
        t.ok(readFileSync(join(folder, 'split')).equals(readFileSync(join(folder, 'wanted'))));
      }),
      { numRuns: 8 },
    );
  },
);

function parts(piece: Buffer | number, size: number): (Buffer | number)[] {
  const length = typeof piece === 'number' ? piece : piece.length;
  const starts = Array.from({ length: Math.ceil(length / size) }, (_, i) => i * size);
  return starts.map((start) =>
    typeof piece === 'number' ? Math.min(size, piece - start) : piece.subarray(start, start + size),
  );
}

t.test('chunks that are known elsewhere are referenced there', async (t) => {
  const folder = temporaryFolder(t);
  const base = await packFiles(layer, { path: join(folder, 'base') });
  const known = new Map(
    base.files.flatMap((file) => file.chunks).map((chunk) => [chunk.digest, chunk]),
  );
  const again = await packFiles(layer, {
    path: join(folder, 'again'),
    known: (digest) => known.get(digest),
  });
  t.equal(again.pack, undefined);
  t.same(again.files, base.files);
  t.same(readdirSync(folder), ['base'], 'no file for a pack without frames');

  const changed = pseudoRandomText(3 * MiB, 3);
  changed.fill('!', 1_500_000, 1_500_100);
  const update = await packFiles([...layer, whole('usr/bin/new', changed)], {
    path: join(folder, 'update'),
    known: (digest) => known.get(digest),
  });
  t.ok(update.stats.newChunks >= 1 && update.stats.newChunks <= 3);
  t.equal(
    update.stats.newPlainBytes,
    framesOf(update.files)
      .filter((frame) => frame.pack === update.pack?.digest)
      .reduce((sum, frame) => sum + frame.plainLength, 0),
  );
});

t.test('a known chunk of another length is not believed', async (t) => {
  const folder = temporaryFolder(t);
  const file = whole('a', Buffer.from('content'));
  const base = await packFiles([file], { path: join(folder, 'base') });
  const right = base.files[0]?.chunks[0];
  if (!right) throw new Error('no chunk');
  const wrong: Chunk = { ...right, length: right.length + 1 };
  const result = await packFiles([file], { path: join(folder, 'pack'), known: () => wrong });
  t.same(result.files, base.files);
});

t.test('the end of a file can be awaited before the next file begins', async (t) => {
  const path = join(temporaryFolder(t), 'pack');
  await using writer = await PackWriter.create({ path, signal: new AbortController().signal });
  for (const file of layer.slice(0, 12)) {
    await writer.beginFile(byteStringFromText(file.path), sizeOf(file));
    for (const piece of file.pieces) if (typeof piece !== 'number') await writer.write(piece);
    const content = digestOf(contentOf(file));
    t.same(await writer.endFile(), { content, size: sizeOf(file) });
  }
  t.equal([...(await writer.finish()).files].length, 10);
});

t.test('thousands of empty and tiny files', async (t) => {
  const path = join(temporaryFolder(t), 'pack');
  const files = Array.from({ length: 20_000 }, (_, i) =>
    whole(`d/${i}`, Buffer.from(i % 3 ? 'x' : '')),
  );
  const { stats, contents } = await packFiles(files, { path });
  t.match(stats, { files: 20_000, plainBytes: 13_333, newChunks: 1 });
  t.equal(contents[0], digestOf(Buffer.alloc(0)));
  t.equal(contents[1], digestOf(Buffer.from('x')));
});
