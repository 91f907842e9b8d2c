import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { FrameShelf } from '../../src/pop/frame-shelf.js';
import type { Member } from '../../src/pop/members.js';
import { SiteSecret } from '../../src/pop/peer-auth.js';
import { PeerHealth } from '../../src/pop/peer-health.js';
import type { FrameAnswer, QueueWish } from '../../src/pop/peer-queue.js';
import { PeerRequests } from '../../src/pop/peer-requests.js';
import { type PeerQuestion, PeerSearch } from '../../src/pop/peer-search.js';
import { PeerServer } from '../../src/pop/peer-server.js';
import { Peers } from '../../src/pop/peers.js';
import { fetchName } from '../../src/pop/pop-keys.js';
import { NodeKey } from '../../src/pop/voucher.js';
import { systemClock } from '../../src/store/clock.js';
import { ManualClock } from '../store/manual-clock.js';

const name = fetchName('frame', 'of these tests');
const gift = { bytes: Buffer.from('a frame'), voucher: undefined };
const never = new AbortController().signal;

function memberOf(node: string, more: Partial<Member> & { url?: string } = {}): Member {
  const { url = 'http://127.0.0.1:1', ...rest } = more;
  return { node, info: { url, host: node, startedAt: 0 }, silentMs: 0, alive: true, ...rest };
}

type Answer = (wish: QueueWish, clock: ManualClock) => Promise<FrameAnswer>;

/** A search among peers that answer so. */
function searchAmong(answers: Readonly<Record<string, Answer>>, more: Partial<PeerQuestion> = {}) {
  const clock = new ManualClock();
  const health = new Map<string, PeerHealth>();
  const healthOf = ({ node }: Pick<Member, 'node'>) => {
    const known = health.get(node) ?? new PeerHealth(clock);
    health.set(node, known);
    return known;
  };
  const members = Object.keys(answers).map((node) => memberOf(node));
  const queueOf = ({ node }: Member) => ({
    ask: async (_: unknown, wish: QueueWish) => await answers[node]?.(wish, clock),
  });
  const question = { name, members, isGood: async () => true, background: () => false, ...more };
  const parts = { clock, healthOf, queueOf, onHedge: () => {} };
  return { search: new PeerSearch(parts, question, members), clock, healthOf };
}

function ended({ signal }: QueueWish): Promise<undefined> {
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(undefined)));
}

t.test(
  'who has answered that it has more to say is not late, nor who is not asked yet',
  async (t) => {
    const slow: Record<string, Answer> = {
      later: async (wish, clock) => {
        wish.onSent();
        clock.pass(10_000);
        wish.onSent();
        return await ended(wish);
      },
      queued: async (wish, clock) => {
        clock.pass(10_000);
        return await ended(wish);
      },
      late: async (wish, clock) => {
        wish.onSent();
        clock.pass(10_000);
        return await ended(wish);
      },
    };
    for (const [node, answer] of Object.entries(slow)) {
      const { search, healthOf } = searchAmong({ [node]: answer, next: async () => gift });
      t.match(await search.result, { member: { node: 'next' } }, 'another is asked besides');
      const isUsual = healthOf({ node }).hedgeMs === healthOf({ node: 'unknown' }).hedgeMs;
      t.equal(isUsual, node !== 'late', node);
    }
  },
);

t.test('who has it may fail twice, whatever the others do', async (t) => {
  let asked = 0;
  let failed = () => {};
  const otherFailed = new Promise<undefined>((resolve) => {
    failed = () => resolve(undefined);
  });
  const sure = { node: 'sure', worthMs: 0 };
  const answers: Record<string, Answer> = {
    sure: async (wish) => {
      wish.onSent();
      asked += 1;
      return asked > 2 ? gift : await otherFailed;
    },
    other: async () => void setImmediate(failed) as undefined,
    third: ended,
  };
  t.match(await searchAmong(answers, { sure }).search.result, { member: { node: 'sure' } });
  t.equal(asked, 3);
});

t.test('what fails at the same time has failed once', (t) => {
  const clock = new ManualClock();
  const health = new PeerHealth(clock);
  for (const of of [1, 2, 3]) {
    t.ok(health.usable, `request ${of}`);
    clock.pass(100);
    for (let frame = 0; frame < 8; frame++) health.late(100);
    clock.pass(1);
  }
  t.notOk(health.usable);
  clock.pass(1000);
  t.ok(health.usable, 'after the first of its rests');
  t.end();
});

async function openPeers(t: Test): Promise<Peers> {
  const folder = mkdtempSync(join(tmpdir(), 'thinfs-peers-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const secret = new SiteSecret(Buffer.from('a secret of this test'));
  const peers = new Peers(secret, await NodeKey.open(folder), systemClock);
  t.teardown(() => peers[Symbol.asyncDispose]());
  return peers;
}

t.test('who has it is asked while it may only be slow, where it is now', async (t) => {
  const peers = await openPeers(t);
  let heard = 0;
  const server = createServer((_, response) => {
    heard += 1;
    response.writeHead(403).end();
  }).listen(0, '127.0.0.1');
  t.teardown(() => server.close().closeAllConnections());
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address();
  const url = `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`;
  const sure = { node: 'sure', worthMs: 0 };
  const get = (member: Member, more: Partial<PeerQuestion> = {}, signal = never) => {
    const isGood = async () => true;
    const question = { name, members: [member], isGood, sure, background: () => false };
    return peers.get({ ...question, ...more }, signal);
  };
  t.equal(await get(memberOf('sure', { alive: false, silentMs: 10_000, url })), 'late');
  t.equal(heard, 0, 'who is gone is not');
  t.equal(
    await get(memberOf('sure', { url }), {}, AbortSignal.abort()),
    'late',
    'that says nothing',
  );
  await get(memberOf('sure'), { sure: undefined });
  t.equal(heard, 0);
  await get(memberOf('sure', { alive: false, silentMs: 700, url }));
  t.ok(heard > 0);
});

t.test(
  'an answer holds the first that were asked for, and is chosen before they are read',
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'thinfs-peers-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const shelf = await FrameShelf.open({
      ...{ folder, quotaBytes: 2 ** 30, policy: 'lru', freeSpaceFloorBytes: 0 },
    });
    const sizes = [600_000, 600_000, 10_000];
    const names = sizes.map((size, at) => fetchName('frame', `${size} ${at}`));
    for (const [at, each] of names.entries()) shelf.remember(each, Buffer.alloc(sizes[at] ?? 0));
    const secret = new SiteSecret(Buffer.from('a secret of this test'));
    const where = { host: '127.0.0.1', port: 0, inHand: new Set<never>() };
    const server = await PeerServer.open({
      ...where,
      secret,
      shelf,
      uploadBytesPerSecond: 2 ** 30,
    });
    t.teardown(() => server[Symbol.asyncDispose]());
    const clock = new ManualClock();
    const health = new PeerHealth(clock);
    const key = await NodeKey.open(folder);
    const requests = new PeerRequests({
      ...{ secret, key, clock, healthOf: () => health, onFailure: () => {} },
    });
    t.teardown(() => requests[Symbol.asyncDispose]());
    const member = memberOf('server', { url: `http://127.0.0.1:${server.port}` });
    t.ok(await requests.isThere(member, never));
    const answer = await requests.frames(names, member, never);
    const kinds = typeof answer === 'object' ? answer.map((each) => typeof each) : answer;
    t.same(kinds, ['object', 'string', 'string']);
    t.equal(server.served.bytes, 600_000);
  },
);
