import t from 'tap';
import { DeferredRecords, type PlacedFiles } from '../../src/cache/deferred-records.js';
import {
  newFiles,
  type PackedFile,
  packColumns,
  packFiles,
  packInBatches,
  unpackFiles,
} from '../../src/cache/packed-files.js';
import { digestBytes, digestFromBytes, digestSize } from '../../src/digest.js';
import fc from '../support/properties.js';

/** Digests of few values: many are alike in the bits that are sorted by, and many the same. */
const packedFile: fc.Arbitrary<PackedFile> = fc
  .tuple(fc.constantFrom(0, 1, 0xff), fc.constantFrom(0, 1, 2), fc.nat(5000), fc.boolean())
  .map(([start, end, size, isNew]) => {
    const digest = Buffer.alloc(digestSize);
    digest.writeUInt8(start, 0);
    digest.writeUInt8(end, digestSize - 1);
    return { content: digestFromBytes(digest), size, allocated: isNew ? 4096 : undefined };
  });
const contentsOf = (files: Iterable<PackedFile>) => [...files].map(({ content }) => content);
const sorted = (texts: Iterable<string>) => [...texts].sort((a, b) => (a < b ? -1 : 1));

t.test(
  'files come back as they were packed, in order of their digests where that is said',
  async (t) => {
    fc.assert(
      fc.property(fc.array(packedFile, { maxLength: 60 }), (files) => {
        const packed = packFiles(files, files.length);
        t.strictSame([...unpackFiles(packed)], files);

        const batches = Array.from(packInBatches(files, 7), (batch) => Buffer.from(batch));
        t.strictSame([...unpackFiles(Buffer.concat(batches))], files);

        const digests = Buffer.concat(files.map(({ content }) => digestBytes(content)));
        const columns = { digests, sizes: Float64Array.from(files, ({ size }) => size) };
        const ofColumns = Array.from(packColumns(columns, 7), (batch) => Buffer.from(batch));
        const listed = files.filter(({ size }) => size > 0);
        t.strictSame(
          [...unpackFiles(Buffer.concat(ofColumns))],
          listed.map((file) => ({ ...file, allocated: undefined })),
        );

        const [first, second] = [files.slice(0, 20), files.slice(20)];
        const lists = [first, second].map((some) => packFiles(some, some.length));
        const fresh = [...unpackFiles(newFiles(lists))];
        const starts = contentsOf(fresh).map((content) => content.slice(0, 'sha256:'.length + 6));
        t.strictSame(starts, sorted(starts));
        const placed = files.filter(({ allocated }) => allocated !== undefined);
        t.strictSame(sorted(contentsOf(fresh)), sorted(contentsOf(placed)));
      }),
      { numRuns: 100 },
    );
  },
);

t.test('records wait until nobody defers them, or must be told', async (t) => {
  const told: PlacedFiles[] = [];
  const records = new DeferredRecords((placed) => told.push(placed));
  const [a, b, c] = ['a', 'b', 'c'].map((text) => Buffer.from(text));
  if (!a || !b || !c) throw new Error('no lists');
  records.placed({ tier: 'local', files: [a] });
  t.strictSame(told.splice(0), [{ tier: 'local', files: [a] }], 'at once where nobody defers');
  const [first, second] = [records.defer(), records.defer()];
  records.placed({ tier: 'local', files: [a] });
  records.placed({ tier: 'fast', files: [b] });
  records.placed({ tier: 'local', files: [c] });
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  t.strictSame(told, [], 'another still defers');
  second[Symbol.dispose]();
  const all = [
    { tier: 'local', files: [a, c] },
    { tier: 'fast', files: [b] },
  ];
  t.strictSame(told.splice(0), all, 'all of a tier as one list');
  using _ = records.defer();
  records.placed({ tier: 'local', files: [a] });
  records.tellAll();
  t.equal(told.length, 1, 'the index is asked');
  records.placed({ tier: 'local', files: [Buffer.alloc(48 * 500_001)] });
  t.equal(told.length, 2, 'more than may wait');
});
