import t from 'tap';
import {
  type BatchEntry,
  batchNamesMax,
  packBatch,
  packNames,
  parseBatch,
  parseNames,
} from '../../src/pop/frame-batch.js';
import { InHand } from '../../src/pop/in-hand.js';
import { PeerQueue } from '../../src/pop/peer-queue.js';
import { type FetchName, fetchName } from '../../src/pop/pop-keys.js';
import { type Voucher, voucherBytes } from '../../src/pop/voucher.js';
import fc from '../support/properties.js';

const never = new AbortController().signal;
const wish = { signal: never, background: () => false, onSent: () => {} };
const nameAt = (at: number): FetchName => fetchName('frame', String(at));
const names = Array.from({ length: batchNamesMax }, (_, at) => nameAt(at));

t.test('what is asked and answered is read as it was written, and nothing else is', async (t) => {
  t.same(parseNames(packNames(names)), names);
  for (const wrong of ['', 'a'.repeat(31), 'z'.repeat(32), 'a'.repeat(32 * (batchNamesMax + 1))]) {
    t.equal(parseNames(Buffer.from(wrong)), undefined);
  }
  const frame = fc.record({
    bytes: fc.uint8Array({ maxLength: 50 }).map((bytes) => Buffer.from(bytes)),
    voucher: fc.constantFrom(undefined, Buffer.alloc(voucherBytes, 7) as Voucher),
  });
  const entry = fc.oneof(frame, fc.constantFrom<BatchEntry>('absent', 'later', 'fetching'));
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 8 }), fc.nat(), (entries, cut) => {
      const packed = packBatch(entries);
      t.same(parseBatch(packed, entries.length), entries);
      t.equal(parseBatch(packed, entries.length + 1), undefined);
      const shorter = packed.subarray(0, cut % (packed.length + 1));
      if (shorter.length < packed.length) t.equal(parseBatch(shorter, entries.length), undefined);
    }),
    { numRuns: 100 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(5), (bytes, count) => {
      const parsed = parseBatch(Buffer.from(bytes), count);
      return parsed === undefined || parsed.length === count;
    }),
  );
});

t.test(
  'what is asked for at the same moment goes together, and what was left out again',
  async (t) => {
    const sent: number[] = [];
    let later = 3;
    const queue = new PeerQueue(async (asked) => {
      sent.push(asked.length);
      return asked.map((_, at) => (at >= later ? 'later' : 'absent'));
    });
    const ask = (count: number) =>
      Promise.all(names.slice(0, count).map((name) => queue.ask(name, wish)));
    t.same(await ask(5), Array(5).fill('absent'));
    t.same(sent, [5, 2]);
    later = batchNamesMax;
    sent.length = 0;
    await ask(batchNamesMax);
    await Promise.all([ask(batchNamesMax), ask(7)]);
    t.same(sent, [batchNamesMax, batchNamesMax, 7]);
  },
);

t.test(
  'what somebody waits for overtakes the rest, and who puts off everything has failed',
  async (t) => {
    const sent: FetchName[][] = [];
    let answer: 'absent' | 'later' = 'absent';
    const queue = new PeerQueue(async (asked) => {
      sent.push([...asked]);
      await new Promise((resolve) => setImmediate(resolve));
      return asked.map(() => answer);
    });
    const background = () => true;
    const many = Array.from({ length: 5 * batchNamesMax }, (_, at) => nameAt(at));
    const answers = many.map((name) => queue.ask(name, { ...wish, background }));
    const hurried = nameAt(-1);
    await Promise.all([...answers, queue.ask(hurried, wish)]);
    t.same(sent[0], [hurried], 'and does not wait for what would go with it');
    t.equal(sent.flat().length, many.length + 1);
    answer = 'later';
    t.equal(await queue.ask(hurried, wish), undefined);
  },
);

t.test('a request is given up when the last who wants something of it is gone', async (t) => {
  let gone = false;
  const queue = new PeerQueue(async (_, signal) => {
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    gone = true;
    return undefined;
  });
  const [one, other] = [new AbortController(), new AbortController()];
  const answers = [one, other].map(({ signal }, at) =>
    queue.ask(nameAt(at), {
      ...wish,
      signal,
      onSent: () => signal === other.signal && one.abort(),
    }),
  );
  await new Promise((resolve) => setImmediate(resolve));
  t.notOk(gone);
  other.abort();
  t.same(await Promise.all(answers), [undefined, undefined]);
  t.ok(gone);
});

t.test(
  'what is fetched twice at once is in hand until both have ended, while one gets on',
  async (t) => {
    const inHand = new InHand();
    const [name, other] = [nameAt(1), nameAt(2)];
    let stuck = false;
    const endFirst = inHand.begin([name, other], () => false);
    const endSecond = inHand.begin([name], () => stuck);
    const has = () => [name, other].map((each) => inHand.has(each));
    t.same(has(), [true, true]);
    endFirst();
    t.same(has(), [true, false]);
    stuck = true;
    t.same(has(), [false, false], 'nobody waits for what hangs');
    stuck = false;
    endSecond();
    t.same(has(), [false, false]);
  },
);
