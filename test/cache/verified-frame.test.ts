import t from 'tap';
import type { Placement } from '../../src/cache/file-origin.js';
import { VerifiedFrame } from '../../src/cache/verified-frame.js';
import { digestOf, parseDigest } from '../../src/digest.js';

const pack = parseDigest(`sha256:${'ab'.repeat(32)}`);
const plain = Buffer.from('one chunk, another chunk');
const frame = { pack, offset: 0, length: 24, plainLength: 24, codec: 'stored' } as const;

function placed(offset: number, length: number): Placement {
  const digest = digestOf(plain.subarray(offset, offset + length));
  const chunk = { frame, digest, offsetInFrame: offset, length };
  return { content: digest, offsetInFile: 0, chunk, size: length };
}

t.test('bytes that were verified are not hashed again, all others are', async (t) => {
  const bytes = Buffer.from(plain);
  t.ok(new VerifiedFrame(bytes, [placed(0, 9)]).sound);
  bytes.fill(0); // nobody does that: it shows what is looked at
  t.ok(new VerifiedFrame(bytes, [placed(0, 9)]).sound, 'the same bytes, the same chunk');
  t.notOk(new VerifiedFrame(bytes, [placed(0, 9), placed(11, 13)]).sound, 'another chunk');
  t.notOk(new VerifiedFrame(Buffer.from(bytes), [placed(0, 9)]).sound, 'other bytes');
});
