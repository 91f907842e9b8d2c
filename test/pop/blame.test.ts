import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import t, { type Test } from 'tap';
import { type Digest, digestOf } from '../../src/digest.js';
import { Agreement } from '../../src/pop/agreement.js';
import { FrameShelf } from '../../src/pop/frame-shelf.js';
import type { Member } from '../../src/pop/members.js';
import { bodyHeader, hashOf, proofHeader, SiteSecret } from '../../src/pop/peer-auth.js';
import { PeerServer } from '../../src/pop/peer-server.js';
import { Peers } from '../../src/pop/peers.js';
import type { PointOfPresence } from '../../src/pop/point-of-presence.js';
import type { PopCounts } from '../../src/pop/pop-counts.js';
import { fetchName, frameName } from '../../src/pop/pop-keys.js';
import { NodeKey } from '../../src/pop/voucher.js';
import { systemClock } from '../../src/store/clock.js';
import type { Blob, ThinImageSource } from '../../src/thin/image-store.js';
import { joinSite, slowAnswerMs, until } from './site.js';
import { bytesOf, frameAt, TestOrigin } from './test-frames.js';
import { openTestSite } from './test-site.js';

const never = new AbortController().signal;
/** Frames that lie in regions of their own, which have different homes. */
const apart = 60;
const { redis, folder, secretFile, join1 } = await openTestSite(t);

/** A member that gives what it likes to the others; it has nothing itself. */
async function joinBad(t: Test, name: string, members: number) {
  const secret = new SiteSecret(readFileSync(secretFile));
  const key = await NodeKey.open(join(folder, name));
  const shelf = await FrameShelf.open({
    ...{ folder: join(folder, name, 'shelf'), quotaBytes: 2 ** 20, policy: 'lru' },
    freeSpaceFloorBytes: 0,
  });
  const where = { host: '127.0.0.1', port: 0, inHand: new Set<never>() };
  const server = await PeerServer.open({ ...where, secret, shelf, uploadBytesPerSecond: 2 ** 30 });
  t.teardown(() => server[Symbol.asyncDispose]());
  const info = () => ({ url: `http://127.0.0.1:${server.port}`, host: name, startedAt: 0 });
  const agreement = await Agreement.open({
    ...{ redis: redis.address, nodeName: key.nodeName, info, onTurn: () => undefined },
    answerMs: slowAnswerMs,
  });
  t.teardown(() => agreement[Symbol.asyncDispose]());
  await until(() => agreement.members.list().filter(({ alive }) => alive).length >= members);
  const peers = new Peers(secret, key, systemClock);
  t.teardown(() => peers[Symbol.asyncDispose]());
  const memberOf = async (site: PointOfPresence): Promise<Member> => {
    const find = () => agreement.members.list().find(({ node }) => node === site.report().node);
    await until(() => find() !== undefined);
    const found = find();
    if (!found) throw new Error('no such member');
    return found;
  };
  return { peers, memberOf };
}

async function read(site: PointOfPresence, origin: TestOrigin, from: number, count: number) {
  const frames = site.frames(origin);
  for (let at = from; at < from + count; at++) {
    const frame = frameAt(apart * at);
    const isSound = (bytes: Buffer) => bytes.equals(bytesOf(frame));
    if (!isSound(await frames.fetchFrame(frame, never, { isSound })))
      throw new Error('wrong bytes');
  }
}

t.test('to blame for wrong frames is who gave them to their home, not the home', async (t) => {
  const home = await join1(t, 'home');
  const bad = await joinBad(t, 'bad', 2);
  const reader = await join1(t, 'reader', { members: 3 });
  const origin = new TestOrigin(1);
  const member = await bad.memberOf(home);
  for (let at = 0; at < 40; at++) {
    await bad.peers.give(frameName(frameAt(apart * at)), Buffer.alloc(20_000, 'wrong'), member);
  }
  t.equal(bad.peers.counts.given, 40);
  await read(reader, origin, 0, 40);
  const { wrong } = reader.report().peers;
  t.ok(wrong > 5, `${wrong} wrong: the home is asked again and again`);
  await read(home, origin, 100, 40);
  const fetched = reader.report().counts.origin.frames;
  await read(reader, origin, 100, 40);
  t.equal(reader.report().counts.origin.frames, fetched, 'and for what is right');
});

/** A store of one blob, that counts. */
function storeOf(bytes: Buffer): { store: ThinImageSource; blob: Blob; opened: () => number } {
  let opened = 0;
  const none = () => Promise.reject(new Error('not asked for'));
  const store: ThinImageSource = {
    async *openRange(_blob: Blob, offset: number, length: number) {
      opened += 1;
      yield bytes.subarray(offset, offset + length);
    },
    ...{ readManifest: none, referrers: none, tagged: none, toString: () => 'a store' },
  };
  return { store, blob: { digest: digestOf(bytes), size: bytes.length }, opened: () => opened };
}

/** Reads of these nodes that ended without an agreement. */
function aloneOf(nodes: readonly PointOfPresence[]): number {
  const counts = nodes.flatMap((node) => Object.values(node.report().aloneFor));
  return counts.reduce((sum: number, each: number) => sum + each, 0);
}

async function readBlob(
  site: PointOfPresence,
  store: ThinImageSource,
  blob: Blob,
): Promise<Digest> {
  const pieces: Buffer[] = [];
  for await (const piece of site.blobs(store).openRange(blob, 0, blob.size, never)) {
    pieces.push(piece);
  }
  return digestOf(Buffer.concat(pieces));
}

t.test('metadata is told of when it is verified, and what is wrong of it heals', async (t) => {
  const bytes = Buffer.alloc(1_300_000, 'metadata of an image, ');
  const { store, blob, opened } = storeOf(bytes);
  const first = await join1(t, 'first');
  const bad = await joinBad(t, 'bad2', 2);
  const second = await join1(t, 'second', { members: 3 });
  for (const offset of [0, 524_288, 1_048_576]) {
    const name = fetchName('part', `${blob.digest} ${blob.size} ${offset}`);
    const part = bytes.subarray(offset, offset + 524_288);
    const given = offset === 524_288 ? Buffer.alloc(part.length, 'wrong') : part;
    for (const each of [first, second]) await bad.peers.give(name, given, await bad.memberOf(each));
  }
  t.equal(await readBlob(first, store, blob), blob.digest);
  t.equal(opened(), 1, 'one node fetches it anew');
  await until(() => second.report().leases.held === 0);
  const third = await join1(t, 'third', { members: 4 });
  for (const each of [second, third]) t.equal(await readBlob(each, store, blob), blob.digest);
  const agreed = opened() - aloneOf([first, second, third]);
  t.ok(agreed <= 2, 'what was wrong at the second is gone by then, or found by itself');
  const fourth = await join1(t, 'fourth', { members: 5 });
  t.equal(await readBlob(fourth, store, blob), blob.digest);
  t.equal(fourth.report().counts.origin.frames, 0, 'and then all is well');
});

t.test('metadata that is no larger than a part comes from the nodes too', async (t) => {
  const { store, blob, opened } = storeOf(Buffer.alloc(300_000, 'metadata of a small image, '));
  const nodes = [await join1(t, 'small1'), await join1(t, 'small2', { members: 2 })];
  for (const name of ['small3', 'small4']) {
    nodes.push(await join1(t, name, { members: nodes.length + 1 }));
    for (const node of nodes) t.equal(await readBlob(node, store, blob), blob.digest);
  }
  const reads = 3 + 4;
  const counts = nodes.map((node) => node.report().counts);
  const sumOf = (from: keyof PopCounts) => counts.reduce((sum, each) => sum + each[from].frames, 0);
  t.equal(sumOf('origin'), 1, 'one node fetches it for the site');
  t.equal(opened() - aloneOf(nodes), 1, 'and who finds the others slow does so alone');
  t.equal(sumOf('alone'), aloneOf(nodes));
  t.ok(sumOf('shelf') >= 3, 'who reads it again has it');
  t.equal(sumOf('origin') + sumOf('alone') + sumOf('shelf') + sumOf('peers'), reads);
  for (const node of nodes) t.match(node.report().aloneFor, { unready: 0, unanswered: 0 });
});

t.test(
  'who has metadata and does not answer is asked once more, not as long as it lives',
  async (t) => {
    const { store, blob, opened } = storeOf(Buffer.alloc(300_000, 'metadata of a hanging node, '));
    const part = fetchName('part', `${blob.digest} ${blob.size} 0`);
    let asked = 0;
    const hanging = createServer((request) => {
      const count = (names: string) => {
        if (names.includes(part)) asked += 1;
      };
      text(request).then(count, () => undefined); // given up before it was said in full
    }).listen(0, '127.0.0.1');
    await once(hanging, 'listening');
    t.teardown(() => hanging.close().closeAllConnections());
    const address = hanging.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    const info = () => ({ url: `http://127.0.0.1:${port}`, host: 'hanging', startedAt: 0 });
    const holder = await joinSite(t, redis.address, 'hanging', { info });
    const name = fetchName('blob', `${blob.digest} ${blob.size}`);
    const claim = await holder.leases.claim(
      name,
      { background: () => false, patienceMs: 30_000 },
      never,
    );
    if (claim.kind !== 'own') throw new Error('nobody else wants it');
    await claim.lease.done();
    const reader = await join1(t, 'waiting', { members: 2 });
    t.equal(await readBlob(reader, store, blob), blob.digest);
    t.equal(opened(), 1);
    t.ok(
      asked === 1 || asked === 2,
      `asked ${asked} times: as its home, and as the one that has it`,
    );
  },
);

t.test('nothing of a stranger is taken in, and nothing without a voucher', async (t) => {
  const home = await join1(t, 'strangers-home');
  const { node, members } = home.report();
  const { url = '' } = members.find((member) => member.node === node)?.info ?? {};
  const path = `/v1/frame/${'0'.repeat(32)}`;
  const endless = connect(Number(new URL(url).port), '127.0.0.1');
  t.teardown(() => endless.destroy());
  endless.write(`PUT ${path} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\n`);
  const [answer] = await once(endless, 'data');
  t.match(String(answer), /^HTTP\/1.1 403/, 'it is not waited for');
  endless.resume();
  await once(endless, 'close');
  t.ok(home.report().served.refused > 0);

  const secret = new SiteSecret(readFileSync(secretFile));
  const body = Buffer.from('what nobody answers for');
  const nonce = secret.newNonce();
  const proof = secret.signRequest(nonce, 'PUT', path, hashOf(body));
  const headers = { 'x-thinfs-nonce': nonce, [proofHeader]: proof, [bodyHeader]: hashOf(body) };
  const put = await fetch(`${url}${path}`, { method: 'PUT', headers, body });
  t.equal(put.status, 403);
  t.equal(home.report().shelf.frames, 0);
});
