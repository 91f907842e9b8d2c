import { randomBytes } from 'node:crypto';
import t from 'tap';
import { digestOf } from '../../src/digest.js';
import { isThinError, ThinError } from '../../src/errors.js';
import type { BlobSource } from '../../src/thin/image-store.js';
import { readWhole } from '../../src/thin/wire-blob.js';

const { signal } = new AbortController();
const large = randomBytes(1_400_000);
const blob = { digest: digestOf(large), size: large.length };

/** A store of one blob that tells what it is asked for. */
function storeOf(bytes: Buffer, more: Partial<Pick<BlobSource, 'openRange' | 'comesWhole'>> = {}) {
  const asked: [number, number][] = [];
  const store: BlobSource = {
    async *openRange(_, offset, length) {
      asked.push([offset, length]);
      yield bytes.subarray(offset, offset + Math.floor(length / 2));
      yield bytes.subarray(offset + Math.floor(length / 2), offset + length);
    },
    ...more,
  };
  return { store, asked };
}

t.test('a large blob comes by several requests, a small one by one', async (t) => {
  const { store, asked } = storeOf(large);
  t.ok((await readWhole(store, blob, signal)).equals(large));
  t.same(
    asked,
    [0, 1, 2, 3].map((part) => [part * 350_000, 350_000]),
  );
  for (const size of [1, 262_144, 524_287]) {
    const small = storeOf(large);
    const bytes = large.subarray(0, size);
    const read = await readWhole(small.store, { digest: digestOf(bytes), size }, signal);
    t.ok(read.equals(bytes));
    t.same(small.asked, [[0, size]]);
  }
});

t.test('where parts are not had in the same way, it comes whole', async (t) => {
  const { store, asked } = storeOf(large, { comesWhole: true });
  t.ok((await readWhole(store, blob, signal)).equals(large));
  t.same(asked, [[0, blob.size]]);
});

t.test('what is wrong, too short or too long is asked for once more, and refused', async (t) => {
  const wrong = Buffer.from(large);
  wrong[blob.size - 1] = 255 - (wrong[blob.size - 1] ?? 0);
  const longer: BlobSource['openRange'] = async function* (_, offset, length) {
    yield large.subarray(offset, offset + length);
    yield large.subarray(0, 10);
  };
  for (const bytes of [wrong, large.subarray(0, 700_000)]) {
    const { store, asked } = storeOf(bytes);
    await t.rejects(readWhole(store, blob, signal), { code: 'corrupt' });
    t.equal(asked.length, 8);
  }
  const { store } = storeOf(large, { openRange: longer });
  t.ok((await readWhole(store, blob, signal)).equals(large), 'what is too much is left out');
});

t.test('the first part that fails ends the others, and is told', async (t) => {
  let ended = 0;
  const { store } = storeOf(large, {
    async *openRange(_, offset, __, aborted) {
      if (offset === 0) throw new ThinError('unavailable', 'Cannot read: gone');
      await new Promise((resolve) => aborted.addEventListener('abort', resolve, { once: true }));
      ended += 1;
      throw new ThinError('canceled', 'Cannot read: given up');
    },
  });
  const error = await readWhole(store, blob, signal).catch((error: unknown) => error);
  t.ok(isThinError(error, 'unavailable'));
  t.equal(ended, 3);
});
