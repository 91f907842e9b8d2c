import t from 'tap';
import { Bitmap } from '../../src/cache/bitmap.js';
import {
  bitmapAt,
  encodeTrailer,
  footerSize,
  parseFooter,
  parseTrailer,
  trailerSize,
} from '../../src/cache/partial-trailer.js';
import { digestOf } from '../../src/digest.js';
import fc from '../support/properties.js';

const content = digestOf(Buffer.from('x'));
const bits = fc.array(fc.boolean(), { maxLength: 300 });
const size = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });

function bitmapOf(values: readonly boolean[]): Bitmap {
  const bitmap = new Bitmap(values.length);
  for (const [at, value] of values.entries()) if (value) bitmap.set(at);
  return bitmap;
}

t.test('what was written is read', (t) => {
  fc.assert(
    fc.property(bits, size, fc.boolean(), (values, size, mismatched) => {
      const file = { content, size };
      const present = bitmapOf(values);
      const bytes = encodeTrailer({ file, present, mismatched });
      t.equal(bytes.length, trailerSize(values.length));
      const parsed = parseTrailer(bytes, file, values.length);
      t.equal(parsed?.mismatched, mismatched);
      t.equal(parsed?.present.count, values.filter(Boolean).length);
      for (const [at, value] of values.entries()) t.equal(parsed?.present.has(at), value);
      t.same(parseFooter(bytes.subarray(-footerSize)), { ...file, chunkCount: values.length });
      t.equal(
        parseTrailer(bytes, { content, size: size === 0 ? 1 : size - 1 }, values.length),
        undefined,
      );
      t.equal(parseTrailer(bytes, file, values.length + 8), undefined);
    }),
    { numRuns: 30 },
  );
  t.end();
});

t.test('anything else is no trailer, and never an exception', (t) => {
  const file = { content, size: 10_000 };
  const bytes = encodeTrailer({ file, present: bitmapOf([true, false, true]), mismatched: false });
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => {
      return parseTrailer(Buffer.from(noise), file, 3) === undefined;
    }),
  );
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
      const copy = Buffer.from(bytes);
      copy.writeUInt8(copy.readUInt8(at) ^ change, at);
      const parsed = parseTrailer(copy, file, 3);
      return parsed === undefined || parsed.present.length === 3;
    }),
  );
  t.end();
});

t.test('bits beyond the end of a bitmap count for nothing', (t) => {
  const bitmap = new Bitmap(3, Buffer.from([0xff]));
  t.equal(bitmap.count, 3);
  t.ok(bitmap.full);
  bitmap.clear(1);
  bitmap.clear(1);
  t.equal(bitmap.count, 2);
  t.notOk(bitmap.hasAll(0, 2));
  t.ok(bitmap.hasAll(2, 2));
  bitmap.setAll();
  t.ok(bitmap.full);
  t.ok(new Bitmap(0).full);
  t.end();
});

t.test('the trailer begins on a page of its own', (t) => {
  t.equal(bitmapAt(0), 0);
  t.equal(bitmapAt(1), 4096);
  t.equal(bitmapAt(4096), 4096);
  t.equal(bitmapAt(2 ** 40 + 1), 2 ** 40 + 4096);
  t.end();
});
