import fc from 'fast-check';
import t from 'tap';
import { digestOf } from '../../src/digest.js';
import { isThinError } from '../../src/errors.js';
import { limits } from '../../src/limits.js';
import { redirectEntryHead } from '../../src/metadata/file-xattrs.js';
import { redirectTo } from '../../src/metadata/overlay-xattrs.js';
import { fromBareMetadata, toBareMetadata } from '../../src/thin/bare-metadata.js';
import { ChunkMap } from '../../src/thin/chunk-map.js';
import { encodeChunkMap } from '../../src/thin/chunk-map-encoder.js';
import { madeUpFiles } from './made-up-chunks.js';

const { files, packs } = madeUpFiles();
const map = ChunkMap.parse(encodeChunkMap({ files, packs }));
const contents = files.map(({ content }) => content);
const left = Buffer.alloc(redirectTo(digestOf(Buffer.from('x'))).length);
const redirect = (path: string | Buffer) =>
  Buffer.concat([redirectEntryHead, typeof path === 'string' ? Buffer.from(path) : path]);
const ofContent = fc.constantFrom(...contents).map((content) => redirect(redirectTo(content)));
/** Bytes of names, targets and xattrs, which may be anything: also what looks like a redirect. */
const piece = fc.oneof(
  { weight: 4, arbitrary: ofContent },
  { weight: 2, arbitrary: fc.uint8Array({ maxLength: 80 }).map((bytes) => Buffer.from(bytes)) },
  fc.constantFrom(
    redirectEntryHead,
    redirect(redirectTo(digestOf(Buffer.from('of no file')))),
    redirect(redirectTo(contents[0] ?? digestOf(left)).toUpperCase()),
    redirect(`/00/${'1'.repeat(64)}`),
  ),
);
const metadataOf = (pieces: readonly Buffer[]) => Buffer.concat(pieces);

t.test('metadata comes back as it was, whatever stands in it', async (t) => {
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
      const metadata = metadataOf(pieces);
      const bare = toBareMetadata(metadata, map);
      if (!bare) return;
      const back = fromBareMetadata(Buffer.from(bare), metadata.length, map);
      if (!back.equals(metadata)) throw new Error('it came back as something else');
    }),
    { numRuns: 500 },
  );
  const all = metadataOf(contents.map((content) => redirect(redirectTo(content))));
  t.equal(toBareMetadata(all, map)?.length, all.length + 4 * contents.length);
});

t.test('metadata that stays as it is', async (t) => {
  const [content] = contents;
  if (!content) throw new Error('a content is needed');
  t.equal(toBareMetadata(Buffer.from('no file'), map), undefined, 'nothing to leave out');
  const taken = metadataOf([redirect(redirectTo(content)), redirect(left)]);
  t.equal(toBareMetadata(taken, map), undefined, 'it has what looks left out');
});

t.test('what others made is refused or gives bytes, and nothing else', async (t) => {
  const holes = metadataOf([redirect(left), redirect(left)]);
  const numbers = (...of: readonly number[]) => {
    const bytes = Buffer.alloc(4 * of.length);
    for (const [row, number] of of.entries()) bytes.writeUInt32LE(number, 4 * row);
    return Buffer.concat([holes, bytes]);
  };
  const read = (bare: Buffer) => fromBareMetadata(bare, holes.length, map);
  const first = redirect(redirectTo(contents[0] ?? digestOf(left)));
  t.ok(read(numbers(0, 2 ** 32 - 1)).equals(metadataOf([first, first])), 'one content twice');
  for (const bare of [numbers(), numbers(0), numbers(0, 0, 0), numbers(0, 2 ** 31)]) {
    t.throws(() => read(bare), { code: 'corrupt' });
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 20 }), fc.nat(holes.length + 20), (tail, size) => {
      try {
        fromBareMetadata(Buffer.concat([holes, tail]), Math.min(size, holes.length), map);
      } catch (error) {
        if (!isThinError(error, 'corrupt')) throw error;
      }
    }),
  );
});

t.test('places beyond 2 GiB', async (t) => {
  const [content] = contents;
  if (!content) throw new Error('a content is needed');
  const size = 2 ** 31 + 8192;
  const bare = Buffer.alloc(size + 8);
  const [near, far] = [2 ** 30 - 2, 2 ** 31 + 100]; // across what is searched at a time, and far
  for (const at of [near, far]) redirect(left).copy(bare, at);
  bare.writeInt32LE(-1, size + 4); // the same content again
  const number = map.numberOf(content) ?? 0;
  bare.writeUInt32LE(number, size);
  const metadata = fromBareMetadata(bare, size, map);
  const wanted = redirect(redirectTo(content));
  for (const at of [near, far]) t.ok(metadata.subarray(at, at + wanted.length).equals(wanted));
});

t.test('metadata that would be too large stays as it is', async (t) => {
  const [content] = contents;
  if (!content) throw new Error('a content is needed');
  const metadata = Buffer.alloc(limits.metadataBytesMax);
  redirect(redirectTo(content)).copy(metadata, 4096);
  t.equal(toBareMetadata(metadata, map), undefined);
});
