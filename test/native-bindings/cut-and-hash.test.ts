import { createHash } from 'node:crypto';
import t from 'tap';
import {
  type CutRecord,
  type CutterParameters,
  NativeCutter,
  type Run,
} from '../../native-bindings/cut-and-hash.js';
import { digestOf } from '../../src/digest.js';
import fc from '../support/properties.js';
import { pseudoRandomBytes } from './pseudo-random.js';

/** Small chunks, so that small inputs have many. Zeros are cut at the maximum only. */
const parameters: CutterParameters = {
  gear: Uint32Array.from({ length: 256 }, (_, i) => Math.imul(i + 1, 0x9e3779b1) >>> 0),
  minimum: 64,
  normal: 256,
  maximum: 1024,
  maskBelow: 0xffc0_0000,
  maskAbove: 0xfc00_0000,
};

/** The definition, written as it reads in src/chunk/FORMAT.md. */
function cut(bytes: Buffer, p: CutterParameters): Buffer[] {
  const chunks: Buffer[] = [];
  for (let start = 0; start < bytes.length; start += chunks.at(-1)?.length ?? 0) {
    let end = Math.min(bytes.length, start + p.maximum);
    let hash = 0;
    for (let at = start + p.minimum; at < end; at++) {
      hash = ((hash << 1) + (p.gear[bytes.readUInt8(at)] ?? 0)) | 0;
      if ((hash & (at - start < p.normal ? p.maskBelow : p.maskAbove)) === 0) end = at + 1;
    }
    chunks.push(bytes.subarray(start, end));
  }
  return chunks;
}

interface File {
  readonly pieces: readonly { readonly bytes: Buffer; readonly hole: boolean }[];
  readonly cut: boolean;
}

const piece = fc.oneof(
  fc.record({ size: fc.nat(4000), hole: fc.constant(true) }),
  fc.record({ size: fc.nat(4000), hole: fc.constant(false) }),
);
const file = fc
  .record({ pieces: fc.array(piece, { maxLength: 4 }), cut: fc.boolean(), seed: fc.nat() })
  .map(({ pieces, cut, seed }) => ({
    cut,
    pieces: pieces.map(({ size, hole }, i) => ({
      hole,
      bytes: hole ? Buffer.alloc(size) : pseudoRandomBytes(size, seed + i),
    })),
  }));

function expected(files: readonly File[]): CutRecord[] {
  return files.flatMap((file) => {
    const content = Buffer.concat(file.pieces.map((piece) => piece.bytes));
    const whole = content.length > 0 ? [content] : [];
    const chunks = file.cut ? cut(content, parameters) : whole;
    return [
      ...chunks.map((chunk) => ({
        type: 'chunk' as const,
        length: chunk.length,
        digest: digestOf(chunk),
      })),
      { type: 'file' as const, digest: digestOf(content) },
    ];
  });
}

/** One piece of a file as runs, parted at most at `at`, each with the bytes that it needs. */
function runsOf(file: File, at: number): { run: Run; bytes: Buffer }[] {
  const empty = { hole: false, bytes: Buffer.alloc(0) };
  const pieces = [...file.pieces, empty].flatMap(({ bytes, hole }) => [
    { hole, bytes: bytes.subarray(0, at) },
    { hole, bytes: bytes.subarray(at) },
  ]);
  return pieces.map(({ bytes, hole }, index) => ({
    bytes: hole ? Buffer.alloc(0) : bytes,
    run: {
      length: bytes.length,
      hole,
      begins: index === 0 && (file.cut ? 'cut' : 'uncut'),
      ends: index === pieces.length - 1,
    },
  }));
}

t.test('files in any number of calls, with holes, are cut as the definition says', async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(file, { maxLength: 5 }),
      fc.nat(3000),
      fc.integer({ min: 1, max: 9 }),
      async (files, at, perCall) => {
        const cutter = new NativeCutter(parameters);
        const all = files.flatMap((one) => runsOf(one, at));
        const records: CutRecord[] = [];
        for (let i = 0; i < all.length; i += perCall) {
          const some = all.slice(i, i + perCall);
          const bytes = Buffer.concat(some.map((one) => one.bytes));
          records.push(
            ...(await cutter.cut(
              bytes,
              some.map((one) => one.run),
            )),
          );
        }
        t.same(records, expected(files));
        return true;
      },
    ),
    { numRuns: 60 },
  );
});

t.test('a hole beyond 2^32 bytes', async (t) => {
  // The digest of 4295267296 zeros is what sha256sum says of them.
  const length = 2 ** 32 + 300_000;
  const cutter = new NativeCutter({ ...parameters, normal: 65_536, maximum: 262_144 });
  const records = await cutter.cut(Buffer.alloc(0), [
    { length, hole: true, begins: 'cut', ends: true },
  ]);
  const chunks = records.filter((record) => record.type === 'chunk');
  t.equal(
    chunks.reduce((sum, chunk) => sum + chunk.length, 0),
    length,
  );
  const zeros = createHash('sha256').update(Buffer.alloc(262_144)).digest('hex');
  t.ok(chunks.slice(0, -1).every((chunk) => chunk.digest === `sha256:${zeros}`));
  t.equal(
    records.at(-1)?.digest,
    'sha256:9f48ebd2f30521a3da1170860a0a3a11074b13cc6be5466294cac23a9a3ee0c0',
  );
});

t.test('zeros that the gear table does cut', async (t) => {
  const gear = new Uint32Array(256);
  const cutter = new NativeCutter({ ...parameters, gear });
  const records = await cutter.cut(Buffer.alloc(0), [
    { length: 200, hole: true, begins: 'cut', ends: true },
  ]);
  t.same(
    records.map((record) => (record.type === 'chunk' ? record.length : 'end')),
    [65, 65, 65, 5, 'end'],
  );
});

t.test('misuse is refused', async (t) => {
  const run = { length: 10, hole: false, begins: 'cut', ends: true } as const;
  const cutter = new NativeCutter(parameters);
  await t.rejects(cutter.cut(Buffer.alloc(9), [run]), { code: 'invalid' }, 'too few bytes');
  for (const length of [-1, 1.5, Number.NaN, 2 ** 53]) {
    await t.rejects(cutter.cut(Buffer.alloc(9), [{ ...run, length }]), { code: 'invalid' });
  }
  const first = cutter.cut(Buffer.alloc(10), [run]);
  await t.rejects(cutter.cut(Buffer.alloc(10), [run]), { code: 'invalid', message: /busy/ });
  t.equal((await first).length, 2);
  t.throws(() => new NativeCutter({ ...parameters, minimum: 0 }), { code: 'invalid' });
  t.throws(() => new NativeCutter({ ...parameters, gear: new Uint32Array(5) }), {
    code: 'invalid',
    message: /256 gear words/,
  });
});
