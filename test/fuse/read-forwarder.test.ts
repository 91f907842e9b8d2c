import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { digestOf } from '../../src/digest.js';
import { ThinError } from '../../src/errors.js';
import { errno } from '../../src/fuse/protocol.js';
import { answerBy, ReadForwarder } from '../../src/fuse/read-forwarder.js';
import type { ForwardedRead } from '../../src/fuse/serve.js';
import { HeldReads, temporaryFolder, until } from './mounted-tree.js';

const content = digestOf(Buffer.from('a file'));

function read(unique: number): ForwardedRead {
  const unnamed = { content, size: 1000, node: 7, offset: 0, length: 10, pid: process.pid };
  return { ...unnamed, unique: BigInt(unique) };
}

/** Replies go to a file, where the test reads them as the kernel would have. */
async function openReplies(t: Parameters<typeof temporaryFolder>[0]) {
  const path = join(await temporaryFolder(t), 'replies');
  const descriptor = openSync(path, 'a');
  t.teardown(async () => closeSync(descriptor));
  const replies = () => {
    const bytes = readFileSync(path);
    const found: { unique: number; error: number; body: string }[] = [];
    for (let at = 0; at < bytes.length; at += bytes.readUInt32LE(at)) {
      const body = bytes.toString('latin1', at + 16, at + bytes.readUInt32LE(at));
      const unique = Number(bytes.readBigUInt64LE(at + 8));
      found.push({ unique, error: bytes.readInt32LE(at + 4), body });
    }
    return found;
  };
  return { descriptor, replies };
}

t.test('each read is answered once, in whatever order', async (t) => {
  const { descriptor, replies } = await openReplies(t);
  const errors: unknown[] = [];
  const waiting = new Map<number, (bytes: Buffer) => void>();
  const forwarder = new ReadForwarder(
    descriptor,
    ({ offset }) => new Promise((resolve) => waiting.set(offset, resolve)),
    (error) => errors.push(error),
  );
  for (const unique of [1, 2, 3]) forwarder.forward({ ...read(unique), offset: unique });
  waiting.get(3)?.(Buffer.from('0123456789'));
  await until('one is answered', () => replies().length === 1);
  waiting.get(1)?.(Buffer.from('abcdefghij'));
  waiting.get(2)?.(Buffer.from('too short'));
  await until('all are answered', () => replies().length === 3);
  t.strictSame(
    replies().map(({ unique, error, body }) => [unique, error, body]),
    [
      [3, 0, '0123456789'],
      [1, 0, 'abcdefghij'],
      [2, -errno.EIO, ''],
    ],
  );
  t.match(errors, [{ code: 'corrupt', message: /got 9 bytes \(wanted 10\)/ }]);
  await forwarder.close();
});

t.test('no more than 1024 calls at once, and none is forgotten', async (t) => {
  const { descriptor, replies } = await openReplies(t);
  const held = new HeldReads();
  const readFile = held.readFile(async () => Buffer.alloc(10));
  const forwarder = new ReadForwarder(descriptor, answerBy(readFile), () => {});
  for (let unique = 1; unique <= 1500; unique++) forwarder.forward(read(unique));
  t.equal(held.calls.length, 1024);
  held.release();
  await until('all are answered', () => replies().length === 1500);
  t.equal(new Set(replies().map(({ unique }) => unique)).size, 1500);
  await forwarder.close();
});

t.test(
  'closing ends all, also those that do not listen, and nothing is sent after it',
  async (t) => {
    const { descriptor, replies } = await openReplies(t);
    const errors: unknown[] = [];
    const held = new HeldReads();
    const readFile = held.readFile(async () => Buffer.alloc(10));
    const forwarder = new ReadForwarder(descriptor, answerBy(readFile), (error) =>
      errors.push(error),
    );
    for (let unique = 1; unique <= 1030; unique++) forwarder.forward(read(unique));
    await forwarder.close();
    t.equal(replies().length, 1030, 'those that were not begun, too');
    t.ok(replies().every(({ error }) => error === -errno.EINTR));
    t.strictSame(errors, [], 'what was given up is no failure');
    t.ok(held.calls.every(({ signal }) => signal.aborted));
    held.release();
    forwarder.forward(read(9999));
    await new Promise(setImmediate);
    t.equal(replies().length, 1030);
  },
);

t.test('failures become error numbers', async (t) => {
  const { descriptor, replies } = await openReplies(t);
  const forwarder = new ReadForwarder(
    descriptor,
    async ({ offset }) => {
      if (offset === 1) throw new ThinError('denied', 'Cannot read: credentials');
      throw new TypeError('a defect');
    },
    () => {},
  );
  forwarder.forward({ ...read(1), offset: 1 });
  forwarder.forward({ ...read(2), offset: 2 });
  await until('both are answered', () => replies().length === 2);
  const errors = new Map(replies().map(({ unique, error }) => [unique, error]));
  t.strictSame([errors.get(1), errors.get(2)], [-errno.EACCES, -errno.EIO]);
  await forwarder.close();
});

const resent = (unique: number) => BigInt(unique) | (1n << 63n);

t.test('a read that comes again is answered once, by its new name', async (t) => {
  const { descriptor, replies } = await openReplies(t);
  const held = new HeldReads();
  const forwarder = new ReadForwarder(
    descriptor,
    answerBy(held.readFile(async () => Buffer.alloc(10))),
    () => {},
  );
  forwarder.forward(read(4));
  forwarder.forward({ ...read(4), unique: resent(4) });
  forwarder.forward({ ...read(6), unique: resent(6) });
  t.equal(held.calls.length, 2, 'and asked for once');
  held.release();
  await forwarder.idle();
  t.strictSame(
    replies().map(({ unique, error }) => [unique, error]),
    [
      [Number(resent(4)), 0],
      [Number(resent(6)), 0],
    ],
  );
  await forwarder.close();
});

t.test('whoever waits for a read that came again can be killed', async (t) => {
  const { descriptor, replies } = await openReplies(t);
  const held = new HeldReads();
  const forwarder = new ReadForwarder(
    descriptor,
    answerBy(held.readFile(async () => Buffer.alloc(10))),
    () => {},
  );
  const nobody = 2 ** 22 + 1; // no process has a number beyond 2^22
  forwarder.forward({ ...read(4), unique: resent(4), pid: nobody });
  forwarder.interrupt(resent(4));
  await until('it is given up', () => replies().length === 1);
  t.match(replies(), [{ unique: Number(resent(4)), error: -errno.EINTR }]);
  t.ok(held.calls[0]?.signal.aborted);
  await forwarder.close();
});

t.test('so can who waits for one that is not begun, and comes again as one', async (t) => {
  const { descriptor, replies } = await openReplies(t);
  const held = new HeldReads();
  const readFile = held.readFile(async () => Buffer.alloc(10));
  const forwarder = new ReadForwarder(descriptor, answerBy(readFile), () => {});
  for (let unique = 2; unique <= 2050; unique += 2) forwarder.forward(read(unique));
  const nobody = 2 ** 22 + 1;
  forwarder.forward({ ...read(3000), pid: nobody });
  forwarder.forward({ ...read(3000), pid: nobody });
  forwarder.interrupt(3000n);
  await until('it is given up', () => replies().length === 1);
  t.match(replies(), [{ unique: 3000, error: -errno.EINTR }]);
  held.release();
  await forwarder.idle();
  t.equal(replies().length, 1026);
  t.equal(held.calls.length, 1025, 'nothing was fetched for it');
  await forwarder.close();
});

t.test('abandoned reads are not answered: the next server is asked for them', async (t) => {
  const { descriptor, replies } = await openReplies(t);
  const held = new HeldReads();
  const errors: unknown[] = [];
  const readFile = held.readFile(async () => Buffer.alloc(10));
  const forwarder = new ReadForwarder(descriptor, answerBy(readFile), (error) =>
    errors.push(error),
  );
  for (let unique = 1; unique <= 1030; unique++) forwarder.forward(read(unique));
  await forwarder.abandon();
  held.release();
  await new Promise(setImmediate);
  t.strictSame([replies(), errors], [[], []]);
  t.ok(held.calls.every(({ signal }) => signal.aborted));
});
