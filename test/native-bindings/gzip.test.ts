import { execFileSync } from 'node:child_process';
import { constants, deflateRawSync, gunzipSync, gzipSync } from 'node:zlib';
import t from 'tap';
import { GzipInflater } from '../../native-bindings/gzip.js';
import { isThinError } from '../../src/errors.js';
import fc from '../support/properties.js';
import { inflateAll } from './inflate-all.js';
import { pseudoRandomBytes, pseudoRandomText } from './pseudo-random.js';

const MiB = 1024 * 1024;
const trailerSize = 8; // CRC-32 and length, of 4 bytes each

const corrupt = (pattern: RegExp) => ({ code: 'corrupt', message: pattern });
const inflate = (stream: Buffer, cuts: readonly number[] = []) =>
  inflateAll(new GzipInflater(), stream, cuts);

/** A member of `plain` whose header has the optional fields of RFC 1952 that `flags` names. */
function member(plain: Buffer, flags: number): Buffer {
  const parts: Buffer[] = [Buffer.from([0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 0, 3])];
  if (flags & 4) parts.push(Buffer.from([6, 0]), Buffer.from('BC\x02\x00\x11\x22', 'latin1'));
  if (flags & 8) parts.push(Buffer.from(`${'long-name/'.repeat(30)}layer.tar\0`));
  if (flags & 16) parts.push(Buffer.from('a comment\0'));
  if (flags & 2) parts.push(crc32(Buffer.concat(parts)).subarray(0, 2));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(plain.length);
  return Buffer.concat([...parts, deflateRawSync(plain), crc32(plain), length]);
}

/** Node 20 tells a CRC-32 only as the trailer of what it compresses. */
function crc32(bytes: Buffer): Buffer {
  return gzipSync(bytes, { level: 0 }).subarray(-trailerSize, -4);
}

t.test('members of every kind, at every split, give what went in', async (t) => {
  const content = fc.oneof(
    fc.nat(70_000).map((size) => pseudoRandomText(size, size)),
    fc.nat(70_000).map((size) => pseudoRandomBytes(size, size)),
    fc.nat(200_000).map((size) => Buffer.alloc(size)),
  );
  const strategy = fc.constantFrom(
    constants.Z_DEFAULT_STRATEGY,
    constants.Z_FIXED,
    constants.Z_HUFFMAN_ONLY,
  );
  const one = fc.record({ content, level: fc.integer({ min: 0, max: 9 }), strategy });
  await fc.assert(
    fc.asyncProperty(
      fc.array(one, { minLength: 1, maxLength: 4 }),
      fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 30 }),
      fc.nat(600),
      async (members, places, padding) => {
        const stream = Buffer.concat([
          ...members.map((m) => gzipSync(m.content, { level: m.level, strategy: m.strategy })),
          Buffer.alloc(padding),
        ]);
        const cuts = places.map((place) => Math.floor(place * stream.length));
        const plain = Buffer.concat(members.map((m) => m.content));
        return (await inflate(stream, cuts)).equals(plain);
      },
    ),
    { numRuns: 150 },
  );
  t.pass('all of them');
});

t.test('headers with every combination of optional fields, byte by byte', async (t) => {
  const parts = Array.from({ length: 16 }, (_, i) => pseudoRandomText(i * 10, i));
  const stream = Buffer.concat(parts.map((part, i) => member(part, i << 1)));
  const everywhere = Array.from({ length: stream.length }, (_, index) => index);
  const plain = Buffer.concat(parts);
  t.ok(gunzipSync(stream).equals(plain), 'zlib agrees that the stream is right');
  t.ok((await inflate(stream)).equals(plain));
  t.ok((await inflate(stream, everywhere)).equals(plain));
});

t.test('what gzip and pigz write', async (t) => {
  const input = pseudoRandomText(3 * MiB, 1);
  for (const flags of [['-1'], ['-6'], ['-9'], ['--rsyncable']]) {
    const stream = execFileSync('gzip', ['-c', ...flags], { input, maxBuffer: 64 * MiB });
    t.ok((await inflate(stream)).equals(input), flags.join(' '));
  }
});

t.test('a stream that ends anywhere inside a member is corrupt', async (t) => {
  const stream = gzipSync(pseudoRandomText(2000, 7));
  for (let length = 0; length < stream.length; length++) {
    const inflated = inflate(stream.subarray(0, length));
    await t.rejects(inflated, corrupt(/it ends too early/), `${length} bytes`);
  }
});

t.test('a wrong checksum, length, method or magic is corrupt', async (t) => {
  const stream = gzipSync(pseudoRandomText(5000, 8));
  const flipped = (at: number) => {
    const bytes = Buffer.from(stream);
    const index = at < 0 ? bytes.length + at : at;
    bytes.writeUInt8(bytes.readUInt8(index) ^ 1, index);
    return bytes;
  };
  for (let at = -trailerSize; at < 0; at++) {
    await t.rejects(inflate(flipped(at)), corrupt(/checksum or length/), `byte ${at}`);
    await t.rejects(inflate(flipped(at), [stream.length - 3]), corrupt(/checksum or length/));
  }
  await t.rejects(inflate(flipped(0)), corrupt(/does not begin as gzip does/));
  await t.rejects(inflate(flipped(1)), corrupt(/no gzip header/));
  await t.rejects(inflate(flipped(2)), corrupt(/not compressed by deflate/));
  await t.rejects(inflate(Buffer.alloc(512)), corrupt(/does not begin as gzip does/));
  const headerChecked = member(Buffer.from('x'), 2);
  headerChecked.writeUInt8(9, 4);
  await t.rejects(inflate(headerChecked), corrupt(/header is damaged/));
  await t.rejects(inflate(member(Buffer.from('x'), 32)), corrupt(/unknown flags/));
  const endlessName = member(Buffer.from('x'), 8).subarray(0, 20);
  const endless = Buffer.concat([endlessName, Buffer.alloc(300_000, 'n')]);
  await t.rejects(inflate(endless), corrupt(/header is too long/));
});

t.test('zero bytes after the last member are padding, anything else is garbage', async (t) => {
  const plain = Buffer.from('plain');
  const stream = gzipSync(plain);
  t.ok((await inflate(Buffer.concat([stream, Buffer.alloc(10_000)]))).equals(plain));
  const wrong: [string, Buffer][] = [
    ['text', Buffer.from('garbage')],
    ['behind padding', Buffer.from('\0\0\0garbage')],
    ['a member behind padding', Buffer.concat([Buffer.alloc(3), stream])],
  ];
  for (const [name, tail] of wrong) {
    const inflated = inflate(Buffer.concat([stream, tail]), [stream.length + 2]);
    await t.rejects(inflated, corrupt(/garbage follows/), name);
  }
});

t.test('mutated streams give what zlib makes of them, or are corrupt', async (t) => {
  const stream = Buffer.concat([gzipSync(pseudoRandomText(3000, 1)), gzipSync(Buffer.alloc(9000))]);
  await fc.assert(
    fc.asyncProperty(
      fc.nat(stream.length - 1),
      fc.integer({ min: 1, max: 255 }),
      async (at, by) => {
        const mutated = Buffer.from(stream);
        mutated.writeUInt8(mutated.readUInt8(at) ^ by, at);
        try {
          return (await inflate(mutated, [at])).equals(gunzipSync(mutated));
        } catch (error) {
          return isThinError(error, 'corrupt');
        }
      },
    ),
    { numRuns: 500 },
  );
  t.pass('all of them');
});

t.test('a bomb comes out in bounded pieces, and misuse is refused', async (t) => {
  const inflater = new GzipInflater();
  const first = inflater.push(gzipSync(Buffer.alloc(5 * MiB)));
  await t.rejects(inflater.push(), { code: 'invalid', message: /last call has not ended/ });
  let total = (await first).reduce((sum, piece) => sum + piece.length, 0);
  t.ok(total <= MiB && inflater.more);
  await t.rejects(inflater.push(Buffer.from('x')), { code: 'invalid', message: /is left/ });
  t.throws(() => inflater.end(), { code: 'invalid' });
  while (inflater.more) {
    for (const piece of await inflater.push()) total += piece.length;
  }
  inflater.end();
  t.equal(total, 5 * MiB);
  await t.rejects(inflater.push(Buffer.from('x')), { code: 'invalid', message: /it is over/ });
});

t.test('a member of more than 2^32 bytes', async (t) => {
  // 64 times 64 MiB of zeros and 65541 more; the CRC-32 was computed by Python's zlib.crc32.
  const block = deflateRawSync(Buffer.alloc(64 * MiB), { finishFlush: constants.Z_FULL_FLUSH });
  const trailer = Buffer.alloc(trailerSize);
  trailer.writeUInt32LE(0x6bc6_beb9, 0);
  trailer.writeUInt32LE(65_541, 4);
  const header = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);
  const tail = Buffer.concat([deflateRawSync(Buffer.alloc(65_541)), trailer]);
  const inflater = new GzipInflater();
  let total = 0;
  for (const bytes of [header, ...Array.from({ length: 64 }, () => block), tail]) {
    for (let plain = await inflater.push(bytes); ; plain = await inflater.push()) {
      for (const piece of plain) total += piece.length;
      if (!inflater.more) break;
    }
  }
  inflater.end();
  t.equal(total, 2 ** 32 + 65_541);
});
