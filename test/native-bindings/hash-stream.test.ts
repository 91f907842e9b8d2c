import t from 'tap';
import { HashStream } from '../../native-bindings/hash-stream.js';
import { digestOf } from '../../src/digest.js';
import { pseudoRandomBytes } from './pseudo-random.js';

const busy = { code: 'invalid', message: /busy/ };

t.test('bytes in pieces have the digest of the whole', async (t) => {
  const bytes = pseudoRandomBytes(3_000_000, 1);
  const hash = new HashStream();
  for (const end of [0, 1, 64, 1_000_000, bytes.length]) {
    await hash.update(bytes.subarray(0, end));
  }
  const all = [0, 1, 64, 1_000_000, bytes.length].map((end) => bytes.subarray(0, end));
  t.equal(hash.digest(), digestOf(Buffer.concat(all)));
  t.equal(new HashStream().digest(), digestOf(Buffer.alloc(0)));
});

t.test('it is one call at a time, and none after its end', async (t) => {
  const bytes = pseudoRandomBytes(1_000_000, 2);
  const hash = new HashStream();
  const first = hash.update(bytes);
  await t.rejects(hash.update(bytes), busy);
  t.throws(() => hash.digest(), busy);
  await first;
  t.equal(hash.digest(), digestOf(bytes));
  await t.rejects(hash.update(bytes), busy);
  t.throws(() => hash.digest(), busy);
});

t.test('many at once come to their ends, each with its own digest', async (t) => {
  const files = Array.from({ length: 50 }, (_, i) => pseudoRandomBytes(200_000 + i, i));
  const digests = files.map(async (bytes) => {
    const hash = new HashStream();
    for (let at = 0; at < bytes.length; at += 7_000)
      await hash.update(bytes.subarray(at, at + 7_000));
    return hash.digest();
  });
  t.same(await Promise.all(digests), files.map(digestOf));
});
