import t from 'tap';
import { compressFrame, decodeFrame, frameBytesMax } from '../../src/chunk/codec.js';
import type { Frame } from '../../src/chunk/frame.js';
import { digestOf } from '../../src/digest.js';
import { isThinError } from '../../src/errors.js';
import { pseudoRandomBytes, pseudoRandomText } from '../native-bindings/pseudo-random.js';
import fc from '../support/properties.js';

async function encode(plain: Buffer): Promise<{ frame: Frame; bytes: Buffer }> {
  const { codec, bytes } = await compressFrame(plain, 3);
  const pack = digestOf(Buffer.from('a pack'));
  return {
    frame: { pack, offset: 10, length: bytes.length, plainLength: plain.length, codec },
    bytes,
  };
}

t.test('what compresses is zstd, what does not is stored', async (t) => {
  for (const length of [1, 1000, frameBytesMax]) {
    const noise = pseudoRandomBytes(length, length);
    const stored = await encode(noise);
    t.equal(stored.frame.codec, 'stored');
    t.ok((await decodeFrame(stored.frame, stored.bytes)).equals(noise));
  }
  const text = pseudoRandomText(frameBytesMax, 1);
  const { frame, bytes } = await encode(text);
  t.equal(frame.codec, 'zstd');
  t.ok(frame.length < text.length / 2);
  t.ok((await decodeFrame(frame, bytes)).equals(text));
});

t.test('bytes that are not what the frame says are corrupt', async (t) => {
  const { frame, bytes } = await encode(pseudoRandomText(5000, 1));
  const stored = await encode(pseudoRandomBytes(5000, 1));
  const cases: [string, Frame, Buffer, RegExp][] = [
    ['too short', frame, bytes.subarray(1), /bytes arrived/],
    ['too long', frame, Buffer.concat([bytes, bytes]), /bytes arrived/],
    ['other size', { ...frame, plainLength: 4999 }, bytes, /cannot be decompressed/],
    ['stored as zstd', { ...stored.frame, codec: 'zstd' }, stored.bytes, /cannot be decompressed/],
    ['zstd as stored', { ...frame, codec: 'stored' }, bytes, /two lengths differ/],
    ['too large', { ...frame, plainLength: 2 ** 30 }, bytes, /too large/],
  ];
  for (const [name, wrong, data, message] of cases) {
    await t.rejects(decodeFrame(wrong, data), { code: 'corrupt', message }, name);
  }
  const whole =
    /Cannot decode frame at 10 of pack sha256:[0-9a-f]{64}: it cannot.*5000 plain bytes/;
  const flipped = Buffer.from(bytes);
  flipped.fill(0xff, 20, 60);
  await t.rejects(decodeFrame(frame, flipped), { code: 'corrupt', message: whole });
});

t.test(
  'mutated frames and lengths are corrupt, or have the length that was promised',
  async (t) => {
    const { frame, bytes } = await encode(pseudoRandomText(9000, 2));
    const mutation = fc.record({
      at: fc.nat(bytes.length - 1),
      with: fc.uint8Array({ minLength: 1, maxLength: 8 }),
      plainLength: fc.oneof({ weight: 4, arbitrary: fc.constant(9000) }, fc.nat(20_000)),
    });
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(mutation, async (change) => {
        const mutated = Buffer.from(bytes);
        mutated.set(change.with.subarray(0, bytes.length - change.at), change.at);
        const { plainLength } = change;
        try {
          return (await decodeFrame({ ...frame, plainLength }, mutated)).length === plainLength;
        } catch (error) {
          refused++;
          return isThinError(error, 'corrupt');
        }
      }),
      { numRuns: 500 },
    );
    t.ok(refused > 100, `${refused} of 500 refused`);
  },
);
