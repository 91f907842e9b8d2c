import { setMaxListeners } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { mapBounded } from '../../src/cache/bounded.js';
import type { Frame } from '../../src/chunk/frame.js';
import { Agreement } from '../../src/pop/agreement.js';
import { FrameShelf } from '../../src/pop/frame-shelf.js';
import { SiteSecret } from '../../src/pop/peer-auth.js';
import { PeerServer } from '../../src/pop/peer-server.js';
import type { PointOfPresence } from '../../src/pop/point-of-presence.js';
import { frameName } from '../../src/pop/pop-keys.js';
import { slowAnswerMs, until } from './site.js';
import { bytesOf, frameAt, TestOrigin } from './test-frames.js';
import { alive, type JoinOptions, openTestSite } from './test-site.js';

/** Of one node. */
const readsInFlight = 4;
const never = new AbortController().signal;
setMaxListeners(0, never);
const site = await openTestSite(t);
const { redis, folder, secretFile, join1 } = site;

async function joinMany(
  t: Test,
  count: number,
  prefix: string,
  options: JoinOptions = {},
): Promise<PointOfPresence[]> {
  const names = Array.from({ length: count }, (_, at) => `${prefix}${at}`);
  const sites = await Promise.all(names.map((name) => join1(t, name, options)));
  await until(() => sites.every((each) => alive(each) === count));
  return sites;
}

/** Frames that nodes fetched without an agreement. */
function aloneIn(sites: readonly PointOfPresence[]): number {
  return sites.reduce((sum, each) => sum + each.report().counts.alone.frames, 0);
}

/** Reads frames as the cache does, several at a time. @returns how many were wrong */
async function readAll(site: PointOfPresence, origin: TestOrigin, frames: readonly Frame[]) {
  const source = site.frames(origin);
  const wrong = await mapBounded(frames, readsInFlight, async (frame) => {
    const isSound = (bytes: Buffer) => bytes.equals(bytesOf(frame));
    const plain = await source.fetchFrame(frame, never, { isSound });
    return isSound(plain) ? 0 : 1;
  });
  return wrong.reduce<number>((sum, each) => sum + each, 0);
}

function range(from: number, count: number): Frame[] {
  return Array.from({ length: count }, (_, at) => frameAt(from + at));
}

t.test('five nodes that start at once fetch everything once', async (t) => {
  const sites = await joinMany(t, 5, 'five');
  const origin = new TestOrigin(30);
  const frames = range(0, 40);
  const wrong = await Promise.all(sites.map((site) => readAll(site, origin, frames)));
  t.same(
    wrong,
    sites.map(() => 0),
  );
  // All in one process: where the machine is busy, some wait for Redis in vain, and say so.
  const alone = aloneIn(sites);
  t.comment(`${origin.fetched.length} fetches of 40 frames by five nodes, ${alone} of them alone`);
  t.ok(origin.fetched.length - alone <= 40, 'nothing is fetched twice for the site');
  t.ok(alone < 100, 'and few are on their own');
  const shared = sites.map((site) => site.report().counts.peers.frames);
  t.ok(shared.reduce((sum, each) => sum + each) > 50, 'the rest came from the nodes themselves');

  await until(() => sites.reduce((sum, site) => sum + site.report().shelf.frames, 0) >= 35);
  const late = await join1(t, 'late', { members: 6 });
  const fetched = origin.fetched.length;
  await readAll(late, origin, frames);
  const fetchedLate = origin.fetched.length - fetched;
  t.ok(fetchedLate - aloneIn([late]) <= 5, 'a node that comes later has it from the others');
  t.ok(late.report().counts.peers.frames > 0);

  const redisDown = await join1(t, 'without-redis', { members: 7 });
  await redis.kill();
  await until(() => !redisDown.report().agreed);
  const fetchedBefore = origin.fetched.length;
  t.equal(await readAll(redisDown, origin, frames), 0);
  const fetchedDown = origin.fetched.length - fetchedBefore;
  t.ok(fetchedDown <= 10, 'and one without Redis, as it knows the others');
  await redis.restart();
});

t.test('homes keep frames over restarts, and find what was changed', async (t) => {
  const origin = new TestOrigin(1);
  const frames = range(1000, 30);
  const first = await join1(t, 'keeper');
  await readAll(first, origin, frames);
  await until(() => first.report().shelf.frames === 30);
  await first[Symbol.asyncDispose]();
  const kept = join(folder, 'keeper', 'pop', 'frames');
  const [name = ''] = readdirSync(kept);
  const bytes = readFileSync(join(kept, name));
  bytes[7] = 255 - (bytes[7] ?? 0);
  writeFileSync(join(kept, name), bytes);
  const again = await join1(t, 'keeper');
  const reader = await join1(t, 'reader', { members: 2 });
  await until(() => alive(again) === 2);
  t.equal(await readAll(reader, origin, frames), 0);
  t.ok(origin.fetched.length >= 31, 'the damaged one is fetched again');
  t.ok(origin.fetched.length - aloneIn([reader]) <= 36, 'and the others are not');
});

t.test('who lies is found out, and not asked any more', async (t) => {
  const frames = range(2000, 120);
  const shelf = await FrameShelf.open({
    folder: join(folder, 'liar'),
    quotaBytes: 2 ** 20,
    policy: 'lru',
    freeSpaceFloorBytes: 0,
  });
  for (const frame of frames) shelf.remember(frameName(frame), Buffer.alloc(frame.length, 'lie'));
  const secret = new SiteSecret(readFileSync(secretFile));
  const options = {
    host: '127.0.0.1',
    port: 0,
    secret,
    shelf,
    inHand: new Set<never>(),
    uploadBytesPerSecond: 2 ** 30,
  };
  const server = await PeerServer.open(options);
  t.teardown(() => server[Symbol.asyncDispose]());
  const info = () => ({
    ...{ url: `http://127.0.0.1:${server.port}`, host: 'liar', startedAt: 0 },
  });
  const liar = await Agreement.open({
    ...{ redis: redis.address, nodeName: 'liar', info, onTurn: () => undefined },
    answerMs: slowAnswerMs,
  });
  t.teardown(() => liar[Symbol.asyncDispose]());
  const site = await join1(t, 'honest', { members: 2 });
  const origin = new TestOrigin(1);
  let wrong = 0;
  for (const frame of frames) wrong += await readAll(site, origin, [frame]);
  t.equal(wrong, 0, 'nobody gets wrong bytes');
  const { peers } = site.report();
  t.equal(peers.wrong, 3, 'it is asked no more after the third lie');
  t.equal(origin.fetched.length, 120);
});

t.test('who does not know the secret gets and gives nothing', async (t) => {
  const other = join(folder, 'other-secret');
  writeFileSync(other, 'another secret, of another site');
  const member = await join1(t, 'member');
  const stranger = await join1(t, 'stranger', { secret: other, members: 2 });
  await until(() => alive(member) === 2);
  const origin = new TestOrigin(1);
  const frames = range(3000, 20);
  t.equal(await readAll(member, origin, frames), 0);
  t.equal(await readAll(stranger, origin, frames), 0);
  t.equal(stranger.report().counts.peers.frames, 0);
  t.equal(origin.fetched.length, 40);
  t.ok(member.report().served.refused > 0);
  await t.rejects(join1(t, 'short', { secret: '/dev/null' }), { code: 'invalid' });
});

t.test('a Redis that is killed, emptied, paused and resumed harms no read', async (t) => {
  const sites = await joinMany(t, 3, 'storm', { hasty: true });
  const origins = sites.map(() => new TestOrigin(20));
  const fetches = () => origins.reduce((sum, { fetched }) => sum + fetched.length, 0);
  const readOf = (at: number, frames: readonly Frame[]) => {
    const [reader, origin] = [sites[at], origins[at]];
    if (!reader || !origin) throw new Error('three nodes');
    return readAll(reader, origin, frames);
  };
  const faults = [
    () => redis.kill(),
    () => redis.restart(),
    () => redis.pause(),
    () => redis.resume(),
    () => redis.ask((client) => client.flushall()),
  ];
  let wrong = 0;
  for (const [round, fault] of faults.entries()) {
    const reads = sites.map(async (_, node) => {
      for (let at = 0; at < 6; at++) {
        wrong += await readOf(node, range(4000 + 100 * round + 10 * at, 10));
      }
    });
    await fault();
    await Promise.all(reads);
  }
  t.equal(wrong, 0);
  t.comment(`${fetches()} fetches of 300 frames by three nodes`);
  for (const { fetched } of origins) {
    t.equal(new Set(fetched.map(frameName)).size, fetched.length, 'no node fetches anything twice');
  }
  t.ok(fetches() < 900, 'and also without Redis they find something at each other');
  await until(() => sites.every((each) => alive(each) === 3));
  const agreed = () => fetches() - aloneIn(sites);
  let round = 0;
  await until(async () => {
    const [before, aloneBefore] = [agreed(), aloneIn(sites)];
    const frames = range(5000 + 20 * round++, 20);
    await Promise.all(sites.map((_, node) => readOf(node, frames)));
    t.ok(agreed() - before <= 20, 'they are one site again');
    // A Redis that is slow once more is not waited for: the next frames are agreed on.
    return aloneIn(sites) - aloneBefore < 40;
  });
});

t.test('who loses Redis while another node fetches waits for that', async (t) => {
  const [one, two] = await joinMany(t, 2, 'patient');
  if (!one || !two) throw new Error('two nodes');
  const [slow, other] = [new TestOrigin(1), new TestOrigin(1)];
  const frames = range(6000, 5);
  let open = () => {};
  slow.opened = new Promise((resolve) => {
    open = resolve;
  });
  const first = readAll(one, slow, frames);
  await until(() => one.report().leases.held === readsInFlight);
  const second = readAll(two, other, frames.slice(0, readsInFlight));
  await until(() => two.report().leases.waits[0]?.pieces === readsInFlight);
  await redis.kill();
  await until(() => !two.report().agreed);
  open();
  t.equal((await first) + (await second), 0);
  t.same(other.fetched, [], 'the origin is not asked for what is on its way');
  t.equal(two.report().counts.peers.frames, readsInFlight);
  await redis.restart();
});
