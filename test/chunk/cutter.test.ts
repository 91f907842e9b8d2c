import t from 'tap';
import { NativeCutter } from '../../native-bindings/cut-and-hash.js';
import { cutLengths, cutterParameters, uncutBytesMax } from '../../src/chunk/cutter.js';
import { digestOf } from '../../src/digest.js';
import { pseudoRandomBytes, pseudoRandomText } from '../native-bindings/pseudo-random.js';
import fc from '../support/properties.js';

const MiB = 1024 * 1024;
const { minimum, maximum } = cutterParameters;

/** Contents of up to 2 MiB: of no order, text, zeros, a short period, and mixtures. */
const content = fc
  .record({ kind: fc.nat(4), size: fc.nat(2 * MiB), seed: fc.nat() })
  .map(({ kind, size, seed }) => {
    const half = size >> 1;
    switch (kind) {
      case 0:
        return pseudoRandomBytes(size, seed);
      case 1:
        return pseudoRandomText(size, seed);
      case 2:
        return Buffer.alloc(size);
      case 3:
        return Buffer.alloc(size, pseudoRandomBytes(1 + (seed % 100), seed));
      default:
        return Buffer.concat([Buffer.alloc(half), pseudoRandomBytes(half, seed)]);
    }
  });

function digests(bytes: Buffer): string[] {
  let at = 0;
  return cutLengths(bytes).map((length) => {
    at += length;
    return digestOf(bytes.subarray(at - length, at));
  });
}

t.test('the parameters are those of FORMAT.md', async (t) => {
  const { gear, ...numbers } = cutterParameters;
  t.same(numbers, {
    minimum: 16_384,
    normal: 65_536,
    maximum: 262_144,
    maskBelow: 0xffff_c000,
    maskAbove: 0xfffc_0000,
  });
  // printf 'thinfs gear 0' | sha256sum | cut -c 1-8, and so on
  t.equal(gear.length, 256);
  t.same([gear[0], gear[1], gear[255]], [0xbaf3_afa9, 0xdd52_0a4d, 0xbfc0_774c]);
});

t.test('chunks sum to the file and keep their bounds', async (t) => {
  await fc.assert(
    fc.property(content, (bytes) => {
      const lengths = cutLengths(bytes);
      t.equal(
        lengths.reduce((sum, length) => sum + length, 0),
        bytes.length,
      );
      if (bytes.length <= uncutBytesMax) t.equal(lengths.length, bytes.length > 0 ? 1 : 0);
      t.ok(lengths.every((length) => length > 0 && length <= maximum));
      t.ok(lengths.slice(0, -1).every((length) => length > minimum));
    }),
    { numRuns: 40 },
  );
});

t.test('the addon cuts and hashes as the reference does', async (t) => {
  const cutter = new NativeCutter(cutterParameters);
  await fc.assert(
    fc.asyncProperty(content, async (bytes) => {
      const begins = bytes.length <= uncutBytesMax ? 'uncut' : 'cut';
      const run = { length: bytes.length, hole: false, begins, ends: true } as const;
      const records = await cutter.cut(bytes, [run]);
      t.same(
        records.map((record) => record.digest),
        [...digests(bytes), digestOf(bytes)],
      );
    }),
    { numRuns: 40 },
  );
});

t.test('zeros are cut at the maximum, which makes holes cheap', async (t) => {
  t.same(cutLengths(Buffer.alloc(600_000)), [maximum, maximum, 600_000 - 2 * maximum]);
});

t.test('the average is near 64 KiB', async (t) => {
  const bytes = pseudoRandomBytes(24 * MiB, 1);
  const average = bytes.length / cutLengths(bytes).length;
  t.ok(average > 56 * 1024 && average < 88 * 1024, `${average} bytes`);
});

t.test('an insertion or a deletion changes few chunks', async (t) => {
  const bytes = pseudoRandomBytes(6 * MiB, 2);
  const before = new Set(digests(bytes));
  await fc.assert(
    fc.property(
      fc.nat(bytes.length),
      fc.integer({ min: 1, max: 5000 }),
      fc.boolean(),
      (at, n, grow) => {
        const edited = grow
          ? Buffer.concat([bytes.subarray(0, at), pseudoRandomText(n, n), bytes.subarray(at)])
          : Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + n)]);
        const fresh = digests(edited).filter((digest) => !before.has(digest));
        if (fresh.length > 8) t.fail(`${fresh.length} of ${before.size} chunks after ${at}, ${n}`);
      },
    ),
    { numRuns: 12 },
  );
  t.ok(before.size > 60);
});
