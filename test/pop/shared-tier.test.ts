import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import type { FileCache } from '../../src/cache/file-cache.js';
import type { FileRef } from '../../src/cache/file-origin.js';
import { tierPath } from '../../src/cache/layout.js';
import type { CopyEnd } from '../../src/cache/shared-files.js';
import { type Digest, digestHex, digestOf } from '../../src/digest.js';
import { SharedTier, type SharedTierOptions } from '../../src/pop/shared-tier.js';
import type { SharedTierAnswer } from '../../src/pop/shared-tier-messages.js';
import { copyFromTier } from '../../src/pop/tier-copy.js';
import { TierListing } from '../../src/pop/tier-listing.js';
import { packList, TierLists } from '../../src/pop/tier-lists.js';
import { TierOffers } from '../../src/pop/tier-offers.js';
import { TierRoom } from '../../src/pop/tier-room.js';
import { openCache, scratchDirectory, signal } from '../cache/cache-rig.js';
import { MemoryOrigin } from '../cache/memory-origin.js';
import { metadataOf } from '../cache/metadata-of.js';
import { startGluster } from '../support/gluster.js';
import { runCommand } from '../support/run-command.js';
import { RedisServer } from './redis-server.js';
import { joinSite, until } from './site.js';

/** For tests that are not about time. */
const patient = { leastMs: 20_000, mostMs: 20_000, lookMs: 20_000 };

/** Small files of one chunk, and large ones of several. */
const contents = Array.from({ length: 24 }, (_, at) =>
  Buffer.alloc(at % 6 === 0 ? 300_000 : 3000 + at, `file ${at}, `),
);

function newOrigin(): MemoryOrigin {
  return new MemoryOrigin('image', contents, 65_536, 262_144);
}

interface TestNode {
  readonly cache: FileCache;
  readonly shared: SharedTier;
  readonly origin: MemoryOrigin;
}

async function startNode(
  t: Test,
  directory: string,
  options: Partial<SharedTierOptions> = {},
): Promise<TestNode> {
  const root = scratchDirectory(t);
  const shared = await SharedTier.open({
    ...{ directory, root, direct: false, quotaBytes: Number.POSITIVE_INFINITY },
    ...{ freeSpaceFloorBytes: 0, onTurn: () => undefined, deadline: patient, ...options },
  });
  t.teardown(() => shared[Symbol.asyncDispose]());
  await until(() => shared.here);
  const cache = await openCache(t, join(root, 'cache'), { shared });
  return { cache, shared, origin: newOrigin() };
}

async function readAll({ cache, origin }: TestNode): Promise<void> {
  for (const file of origin.refs()) {
    const bytes = await cache.read(file, 0, file.size, origin, signal);
    if (!bytes.equals(origin.bytesOf(file))) throw new Error('wrong bytes');
  }
}

function filesIn(directory: string): string[] {
  const below = readdirSync(directory, { recursive: true, encoding: 'utf8' });
  return below.filter((name) => /^[0-9a-f]{2}\/[0-9a-f]{64}$/.test(name));
}

/** A node that has put all it has read where the others find it. */
async function fill(t: Test, directory: string): Promise<TestNode> {
  const node = await startNode(t, directory);
  await readAll(node);
  await until(() => filesIn(directory).length === contents.length);
  await until(() => node.shared.report().waiting === 0);
  return node;
}

function scratch(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'thinfs-shared-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

t.test('what one node has read, the others find, and what is wrong of it goes', async (t) => {
  const directory = scratch(t);
  const first = await fill(t, directory);
  t.equal(filesIn(directory).length, contents.length);
  t.same(readdirSync(join(directory, '.incoming')), []);
  const [small, large] = [first.origin.refs()[1], first.origin.refs()[6]];
  if (!small || !large) throw new Error('24 files');
  writeFileSync(tierPath(directory, small.content), Buffer.alloc(small.size, 'wrong'));
  writeFileSync(tierPath(directory, large.content), Buffer.alloc(7, 'short'));

  const second = await startNode(t, directory);
  await readAll(second);
  t.equal(second.shared.counts.wrong, 2);
  t.ok(second.origin.fetched.length <= 6, 'only the frames of what was wrong are fetched');
  const isRight = (file: FileRef) => {
    const path = tierPath(directory, file.content);
    return existsSync(path) && readFileSync(path).equals(second.origin.bytesOf(file));
  };
  await until(() => isRight(small) && isRight(large)); // it is put there behind the reads

  const third = await startNode(t, directory);
  // Then a file becomes complete while parts of it are read from where it was in part.
  for (const file of third.origin.refs()) {
    await third.cache.read(file, 0, 1000, third.origin, signal);
  }
  await readAll(third);
  t.same(third.origin.fetched, []);
  const { reads, late } = third.shared.counts;
  t.same({ reads: reads >= contents.length, late }, { reads: true, late: 0 });
  await third.cache[Symbol.asyncDispose]();
  const again = await readdirSync(directory);
  t.ok(again.includes('.thinfs-shared'));
});

t.test('what is read is copied whole, with the small files that lie beside it', async (t) => {
  const directory = scratch(t);
  await fill(t, directory);
  const node = await startNode(t, directory);
  const { cache } = node;
  const beside: string[] = [];
  const note = ({ content }: FileRef) => void beside.push(content);
  const origin = Object.assign(node.origin, { beside: note });
  const [large, small] = origin.refs();
  if (!large || !small) throw new Error('24 files');
  await cache.read(small, 100, 10, origin, signal);
  const frame = origin.chunksOf(small.content)?.[0]?.frame;
  const others = frame ? origin.placementsIn(frame).filter((each) => each.size < 65_536) : [];
  t.ok(others.length > 2, `${others.length} lie in its frame`);
  for (const file of [small, ...others]) await until(() => existsSync(cache.pathOf(file.content)));
  t.same(new Set(beside), new Set(others.map(({ content }) => content)), 'which is told');
  await cache.read(large, 70_000, 10, origin, signal);
  await until(() => existsSync(cache.pathOf(large.content)));
  t.same(
    readFileSync(cache.pathOf(large.content)),
    origin.bytesOf(large),
    'also of several chunks',
  );
  t.same(origin.fetched, []);
});

t.test('many that begin at once make one tier, and put each file once', async (t) => {
  const directory = scratch(t);
  const nodes = await Promise.all([1, 2, 3, 4].map(() => startNode(t, directory)));
  await Promise.all(nodes.map(readAll));
  await until(() => nodes.every(({ shared }) => shared.report().waiting === 0));
  await until(() => filesIn(directory).length === contents.length);
  for (const file of newOrigin().refs()) {
    t.same(readFileSync(tierPath(directory, file.content)), newOrigin().bytesOf(file));
  }
  await until(() => nodes.every(({ shared }) => shared.here));
  const other = await startNode(t, directory);
  t.equal(other.shared.report().away, null);
});

t.test('completing an image brings it from there', async (t) => {
  const directory = scratch(t);
  await fill(t, directory);
  const node = await startNode(t, directory);
  const { origin } = node;
  const { missingBytes } = await node.cache.completeImage({
    ...{ files: origin.refs(), origin, signal },
  });
  t.equal(missingBytes, 0);
  t.same(origin.fetched, []);
  const direct = await startNode(t, directory, { direct: true });
  await direct.cache.completeImage({ files: origin.refs(), origin: direct.origin, signal });
  t.equal((await direct.cache.usage()).bytes, 0, 'where mounts read it directly nothing is copied');
  t.same(direct.cache.mountedDirectories.slice(-1), [directory]);
});

t.test('what is pulled in full is put there as well', async (t) => {
  const directory = scratch(t);
  const { cache } = await startNode(t, directory);
  using hold = cache.hold();
  const writer = cache.fileWriter(hold);
  await writer.write(Buffer.from('of an image without a thin form'));
  const file = await writer.commit();
  t.same(filesIn(directory), []);
  const metadata = metadataOf(scratchDirectory(t), [file]);
  await cache.pinImage('image', [file, { ...file, size: 0 }], metadata);
  await until(() => filesIn(directory).length === 1);

  const offers = new TierOffers();
  const many = async function* () {
    for (let at = 0; at < 20_000; at++) yield { file: { ...file, size: at }, path: 'path' };
  };
  offers.addList(many(), 20_000);
  offers.addList(many(), 490_000);
  t.equal(offers.size, 20_000, 'what would be too many is passed over');
  offers.add({ file, path: 'first' });
  t.match(await offers.next(), { path: 'first' });
  for (let at = 0; at < 20_000; at++) {
    const next = await offers.next();
    if (next?.file.size !== at) t.equal(next?.file.size, at);
  }
  t.equal(await offers.next(), undefined, 'none is forgotten, however many there are');
  t.equal(offers.size, 0);
});

t.test('read-only, full, unmounted: reads go on, and it is joined again', async (t) => {
  const folder = scratch(t);
  const directory = join(folder, 'mounted');
  mkdirSync(directory);
  const mount = (options: string) =>
    runCommand('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', directory]);
  t.teardown(() => runCommand('umount', ['--lazy', directory], { mayFail: true }));
  await mount('size=256k');
  const full = await startNode(t, directory);
  await readAll(full);
  await until(() => full.shared.counts.failures > 0);
  await until(() => full.shared.here); // a full one is read
  for (const name of filesIn(directory)) {
    const [file] = newOrigin()
      .refs()
      .filter(({ content }) => name.endsWith(digestHex(content)));
    t.equal(file?.size, readFileSync(join(directory, name)).length, 'and has nothing in part');
  }
  const isThere = ({ content }: FileRef) => existsSync(tierPath(directory, content));
  const there = newOrigin().refs().find(isThere);
  if (!there) throw new Error('room for some');

  await runCommand('mount', ['-o', 'remount,ro', directory]);
  const readOnly = await startNode(t, directory);
  await readOnly.cache.read(there, 0, 10, readOnly.origin, signal);
  await readAll(readOnly); // what lies in a frame that is fetched comes with it
  await until(() => readOnly.shared.counts.failures > 0);
  t.ok(readOnly.shared.counts.reads > 0);

  await runCommand('mount', ['-o', 'remount,rw,size=16m', directory]);
  const bound = join(folder, 'bound');
  mkdirSync(bound);
  await runCommand('mount', ['--bind', directory, bound]);
  t.teardown(() => runCommand('umount', ['--lazy', bound], { mayFail: true }));
  const turns: (string | undefined)[] = [];
  const node = await startNode(t, bound, { onTurn: (why) => turns.push(why) });
  await runCommand('umount', ['--lazy', bound]); // it may just be looked at
  await until(() => !node.shared.here);
  await readAll(node);
  t.same(readdirSync(bound), [], 'nothing is put into the folder that is there instead');
  t.match(node.shared.report().away, /is it mounted/);
  await runCommand('mount', ['--bind', directory, bound]);
  await until(() => node.shared.here);
  t.equal(turns.length, 3, 'there, away, there again');
});

t.test('a GlusterFS of two bricks, which then hangs', async (t) => {
  const gluster = await startGluster(t);
  const directory = join(gluster.path, 'thinfs');
  mkdirSync(directory);
  await fill(t, directory);
  const second = await startNode(t, directory);
  await readAll(second);
  t.same(second.origin.fetched, []);
  const usual = { leastMs: 100, mostMs: 500 };
  const hanging = await startNode(t, directory, { deadline: usual });
  const idle = await startNode(t, directory, { deadline: { ...patient, lookMs: 1000 } });
  gluster.pause();
  await readAll(hanging);
  t.equal(hanging.shared.counts.reads, 0);
  t.ok(hanging.shared.counts.late <= 8, `${hanging.shared.counts.late} reads lost a moment`);
  await until(() => !hanging.shared.here && !idle.shared.here);
  const startedAt = performance.now();
  await readAll(idle);
  t.equal(idle.shared.counts.late, 0, 'who knows that it hangs does not ask');
  t.comment(`24 files of a node that knows: ${Math.round(performance.now() - startedAt)} ms`);
  gluster.resume();
  await until(() => hanging.shared.here && idle.shared.here);
  const [file] = idle.origin.refs();
  if (!file) throw new Error('24 files');
  await until(() => idle.shared.has(file)); // and it is used again
});

t.test('what the site uses least leaves a tier that is full, never what is mounted', async (t) => {
  const redis = await RedisServer.start(t);
  const directory = scratch(t);
  const images = ['a', 'b', 'c'].map((name) => {
    const files = contents
      .slice(0, 8)
      .map((bytes, at) => Buffer.concat([bytes, Buffer.from(name + at)]));
    const image = `sha256:${name.repeat(64)}`;
    return { image, origin: new MemoryOrigin(image, files, 65_536, 262_144) };
  });
  const bytes = images[0]?.origin.refs().reduce((sum, { size }) => sum + size, 0) ?? 0;
  const join = async (name: string) => {
    const agreement = await joinSite(t, redis.address, name);
    const node = await startNode(t, directory, { quotaBytes: 2.5 * bytes });
    agreement.onAnnounced((message) => node.shared.announced(message));
    node.shared.join(agreement.uses);
    return { ...node, agreement, mounted: new Set<string>() };
  };
  const nodes = [await join('one'), await join('two')];
  const bring = async (at: number, of: number) => {
    const [node, image] = [nodes[at], images[of]];
    if (!node || !image) throw new Error('two nodes, three images');
    node.agreement.uses.begin(() => [...node.mounted]);
    node.mounted.add(image.image);
    await node.cache.mountImage(image.image, image.origin.refs());
    // What is complete here already is put there as well.
    const { origin } = image;
    await node.cache.completeImage({ files: origin.refs(), origin, signal });
    const isThere = ({ content }: { content: Digest }) => existsSync(tierPath(directory, content));
    await until(() => image.origin.refs().every(isThere));
    return node;
  };
  // What is in use is believed to be known after ten minutes.
  await redis.ask((client) => client.set('thinfs:3:{images}:since', 1));
  await bring(0, 0);
  const second = await bring(1, 1);
  second.mounted.clear(); // the first has its image mounted still
  await second.agreement.uses.beat();
  await bring(0, 2);
  const there = (of: number) => {
    const refs = images[of]?.origin.refs() ?? [];
    return refs.filter(({ content }) => existsSync(tierPath(directory, content))).length;
  };
  await until(() => there(1) === 0);
  t.same([there(0), there(2)], [8, 8], 'what is mounted on a node stays, although it is older');
  // Told when the last of its files has gone.
  const evicted = () => nodes.reduce((sum, { shared }) => sum + shared.counts.evicted, 0);
  await until(() => evicted() > 0);
  t.equal(evicted(), 1);
  const uses = await second.agreement.uses.list();
  t.equal(uses?.filter((use) => use.nodes.length > 0).length, 2);
  t.equal(uses?.find(({ image }) => image === images[1]?.image)?.nodes.length, 0);

  await redis.ask((client) => client.del('thinfs:3:{images}:since'));
  await second.agreement.uses.beat();
  t.equal(await second.agreement.uses.list(), undefined, 'a Redis that has forgotten says nothing');
  await bring(1, 1);
  await until(() => second.shared.counts.stored > 8);
  t.same([there(0), there(1), there(2)], [8, 8, 8], 'and nothing leaves then');
});

t.test('one that always answers late is left alone, whoever else looks at it', async (t) => {
  const directory = scratch(t);
  const { origin } = await fill(t, directory);
  const node = await startNode(t, directory, { deadline: { leastMs: 50, mostMs: 50 } });
  const { shared } = node;
  const workers = ['-P', `${process.pid}`, '-nf', directory];
  /** 0 if none runs. */
  const worker = async () => {
    return Number((await runCommand('pgrep', workers, { mayFail: true })).stdout);
  };
  const awake = setInterval(() => undefined, 1000); // as a worker alone keeps nobody
  t.teardown(() => clearInterval(awake));
  const files = origin
    .refs()
    .filter(({ size }) => size < 4096)
    .slice(0, 8); // its rests double
  const [first] = files;
  if (!first) throw new Error('small files');
  const whileStopped = async (work: () => Promise<void>) => {
    let pid = 0;
    await until(async () => {
      pid = await worker();
      return pid > 0;
    });
    process.kill(pid, 'SIGSTOP');
    await work();
    // On a busy machine it may have been given up by then, and another one have come.
    if ((await worker()) === pid) process.kill(pid, 'SIGCONT');
  };
  await whileStopped(async () => void t.notOk(await shared.has(first)));
  t.match(shared.counts, { late: 0, failures: 0 });
  await until(() => shared.has(first));
  t.equal(shared.counts.reads, 0);
  const ends: CopyEnd[] = [];
  for (const file of files) {
    const to = { incoming: join(directory, 'way'), path: join(directory, `copy ${file.size}`) };
    let end: Promise<CopyEnd> | undefined;
    await whileStopped(async () => {
      const copy = shared.copy(file, to, 0, 10);
      t.equal(await copy.bytes, undefined);
      end = copy.end;
    });
    ends.push((await end) ?? 'unknown');
  }
  t.not(ends[0], 'not-kept', 'what comes late is told when it does');
  t.ok(ends.includes('not-kept'), 'then it has a rest');
});

t.test('what is no file in its place stops nothing', async (t) => {
  const directory = scratch(t);
  const { shared } = await startNode(t, directory);
  const [first, second, third] = newOrigin().refs();
  if (!first || !second || !third) throw new Error('24 files');
  const path = tierPath(directory, first.content);
  mkdirSync(dirname(path));
  await runCommand('mkfifo', [path]);
  t.notOk(await shared.has(first));
  t.equal(shared.counts.wrong, 1);
  const pipe = join(directory, 'pipe');
  await runCommand('mkfifo', [pipe]);
  const large = { id: 1, content: first.content, size: 2_000_000, offset: 0, length: 0 };
  const way = { incoming: join(directory, 'way'), path: join(directory, 'copy') };
  t.match(await copyFromTier(pipe, { ask: 'copy', ...large, ...way }), { is: 'wrong' });
  writeFileSync(way.path, '');
  t.match(await copyFromTier(pipe, { ask: 'copy', ...large, ...way }), { is: 'there' });
  const right = Buffer.alloc(large.size, 7);
  writeFileSync(join(directory, 'right'), right);
  const below = { ...large, content: digestOf(right), ...way, path: join(way.path, 'copy') };
  const failed = await copyFromTier(join(directory, 'right'), { ask: 'copy', ...below });
  t.match(failed, { is: 'copied', kept: false }, 'this node is no fault of the tier');
  const linked = tierPath(directory, third.content);
  mkdirSync(dirname(linked), { recursive: true });
  symlinkSync(way.path, linked);
  for (const size of [0, 2_000_000]) {
    const request = { ...large, ...way, size, path: join(directory, 'other copy') };
    t.match(await copyFromTier(linked, { ask: 'copy', ...request }), { is: 'wrong' });
  }
  t.notOk(await shared.has(third));
  t.match(shared.counts, { wrong: 2, failures: 0 });

  const [hex, old] = [digestHex(second.content), new Date(0)];
  for (const folder of ['.images', '.in-use']) {
    for (const name of [hex, 'lost+found']) {
      mkdirSync(join(directory, folder, name), { recursive: true });
      utimesSync(join(directory, folder, name), old, old);
    }
  }
  mkdirSync(join(directory, hex.slice(0, 2), hex), { recursive: true });
  const lists = new TierLists(directory);
  await lists.write(`sha256:${digestHex(first.content)}`, packList([{ hex, size: second.size }]));
  const { files, images, orphans } = await lists.survey([]);
  t.same([files.size, images.length, orphans], [0, 1, []]);

  const [fourth] = newOrigin().refs().slice(3);
  if (!fourth) throw new Error('24 files');
  mkdirSync(join(tierPath(directory, fourth.content), 'inside'), { recursive: true });
  const own = join(directory, '../own');
  writeFileSync(own, newOrigin().bytesOf(fourth));
  shared.offer(fourth, own);
  await until(() => shared.counts.stored === 1);
  t.ok(await shared.has(fourth), 'a folder leaves the place of a file');
});

t.test('a folder with other things in it is none', async (t) => {
  const directory = scratch(t);
  writeFileSync(join(directory, 'letter'), 'to somebody');
  const root = scratchDirectory(t);
  const shared = await SharedTier.open({
    ...{ directory, root, direct: false, quotaBytes: Number.POSITIVE_INFINITY },
    ...{ freeSpaceFloorBytes: 0, onTurn: () => undefined },
  });
  t.teardown(() => shared[Symbol.asyncDispose]());
  await until(() => /not empty/.test(shared.report().away ?? ''));
  t.same(readdirSync(directory), ['letter']);
  unlinkSync(join(directory, 'letter'));
  await until(() => shared.here);
});

t.test('lists are written one at a time, and no more once one cannot be', async (t) => {
  const asked: string[] = [];
  const images: string[] = [];
  let answer: SharedTierAnswer | undefined;
  const listing = new TierListing({
    ask: async (question) => {
      asked.push(question.ask);
      if ('image' in question) images.push(question.image);
      return answer;
    },
  });
  for (const image of ['a', 'b', 'c']) listing.add(image, []);
  await Promise.all([listing.list(), listing.list(), listing.list()]);
  t.same(asked, ['listed'], 'a tier that does not answer is asked once');
  await listing.list();
  t.same(images, ['a', 'b'], 'one that cannot be written does not stop the others for ever');
  answer = { id: 1, is: 'there' };
  await listing.list();
  t.equal(asked.length, 5, 'and all that waits when it answers again');
});

t.test(
  'room that could not be made is made later, and the site is told what may be gone',
  async (t) => {
    const left: number[] = [];
    const told: string[] = [];
    let answer: SharedTierAnswer | undefined;
    let now = 0;
    const room = new TierRoom(
      { ask: async () => answer },
      { quotaBytes: 100, clock: { now: () => now }, onLeft: (_, bytes) => left.push(bytes) },
    );
    const uses = {
      mounted: () => undefined,
      untold: () => [],
      list: async () => [],
      mayTidy: async () => true,
      hasTidied: async () => void told.push('done'),
      announce: async (message: string) => {
        if (told.length === 0) room.put(1);
        told.push(message);
      },
    };
    room.put(300);
    await room.make(uses, 'tier');
    t.same(told, ['came tier', 'left tier', 'done']);
    answer = { id: 1, is: 'tidy', bytes: 90, left: { images: ['a'], bytes: 210 } };
    await room.make(uses, 'tier');
    t.same(left, [], 'not at once');
    t.equal(told.at(-1), 'came tier', 'what came while that was told is told too');
    now += 31_000;
    await room.make(uses, 'tier');
    t.same(left, [210], 'what was put there is not forgotten');
  },
);
