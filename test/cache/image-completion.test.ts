import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { FileCache } from '../../src/cache/file-cache.js';
import type { FileOrigin, FileRef } from '../../src/cache/file-origin.js';
import type { CompletionProgress } from '../../src/cache/image-completion.js';
import { PauseSwitch } from '../../src/cache/pause-switch.js';
import { notCopied, type SharedFiles } from '../../src/cache/shared-files.js';
import { ThinError } from '../../src/errors.js';
import { cacheOptions, openCache, scratchDirectory, signal, until } from './cache-rig.js';
import { MemoryOrigin } from './memory-origin.js';
import { partialFiles, tierFiles, wrongTierFiles } from './tier-listing.js';

/** What nodes have in common, with nothing in it: remembers what it is offered. */
class SharedFolder implements SharedFiles {
  readonly directory: string;
  readonly here = true;
  readonly direct = false;
  readonly offered = new Map<string, string>();

  constructor(directory: string) {
    this.directory = directory;
  }

  read = async () => undefined;
  copy = () => notCopied;
  endCopies = () => undefined;
  has = async () => false;
  wrong = () => undefined;
  mounted = () => undefined;
  offerAll = () => undefined;

  offer({ content }: FileRef, path: string): void {
    this.offered.set(content, path);
  }
}

const small = (count: number) => Array.from({ length: count }, () => randomBytes(700));

function image(id: string): MemoryOrigin {
  return new MemoryOrigin(id, [...small(60), randomBytes(300_000), ...small(20)], 4096, 16_384);
}

t.test('everything comes once, in the order of the pack, and the image is complete', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const origin = image('a');
  const cache = await openCache(t, root);
  await cache.rememberImage('a', origin.refs());
  t.notOk(await cache.isComplete('a'));
  t.notOk(await cache.isComplete('of which nothing is known'));
  const seen: CompletionProgress[] = [];
  const files = origin.refs();
  const done = await cache.completeImage({
    files,
    origin,
    signal,
    onProgress: (progress) => void seen.push(progress),
  });
  const totalBytes = files.reduce((sum, { size }) => sum + size, 0);
  t.same(done, { totalBytes, missingBytes: 0, copiedBytes: 0 });
  t.same(seen[0], { totalBytes, missingBytes: totalBytes, copiedBytes: 0 });
  t.ok(
    seen.every(
      ({ missingBytes }, at) => at === 0 || missingBytes <= (seen[at - 1]?.missingBytes ?? 0),
    ),
  );
  t.same(
    origin.fetched,
    [...new Set(origin.fetched)].sort((a, b) => a - b),
  );
  t.equal(tierFiles(root).length, files.length);
  t.same(wrongTierFiles(root), []);
  t.ok(await cache.isComplete('a'));
  origin.fetched.length = 0;
  await cache.completeImage({ files, origin, signal });
  t.same(origin.fetched, []);
});

t.test('it goes on where it was stopped, also after a restart', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const origin = image('a');
  const files = origin.refs();
  const first = await FileCache.open(cacheOptions(root));
  const stop = new AbortController();
  origin.tamper = (bytes) => {
    if (origin.fetched.length === 10) stop.abort();
    return bytes;
  };
  await t.rejects(first.completeImage({ files, origin, signal: stop.signal }), {
    code: 'canceled',
  });
  await first[Symbol.asyncDispose]();
  t.ok(partialFiles(root).length + tierFiles(root).length > 0);
  const before = [...origin.fetched];
  const cache = await openCache(t, root);
  await cache.completeImage({ files, origin, signal });
  t.equal(tierFiles(root).length, files.length);
  const again = origin.fetched.length - new Set(origin.fetched).size;
  t.ok(before.length < new Set(origin.fetched).size);
  t.ok(again <= 4, 'at most what was on its way comes twice');
});

t.test('a pause holds it, and its end lets it go on', async (t) => {
  const origin = image('a');
  const cache = await openCache(t, join(scratchDirectory(t), 'root'));
  const pause = new PauseSwitch();
  origin.tamper = (bytes) => {
    if (origin.fetched.length === 5) pause.pause();
    return bytes;
  };
  const completion = cache.completeImage({ files: origin.refs(), origin, signal, pause });
  await until(() => pause.paused);
  await cache.usage();
  const held = origin.fetched.length;
  t.ok(held <= 5 + 3, 'what was on its way comes');
  const [file] = origin.refs();
  if (file === undefined) throw new Error('no file');
  await cache.read(file, 0, 10, origin, signal);
  pause.resume();
  await completion;
  const stop = new AbortController();
  pause.pause();
  const stopped = cache.completeImage({ files: origin.refs(), origin, signal: stop.signal, pause });
  stop.abort();
  await t.rejects(stopped, { code: 'canceled' });
});

t.test('reads go first: a frame that somebody waits for is not background', async (t) => {
  const origin = new MemoryOrigin('a', [randomBytes(400_000)], 4096, 16_384);
  const [file] = origin.refs();
  if (file === undefined) throw new Error('no file');
  const options: (object | undefined)[] = [];
  const gates: (() => void)[] = [];
  const slow: FileOrigin = {
    id: 'slow',
    chunksOf: (content) => origin.chunksOf(content),
    placementsIn: (frame) => origin.placementsIn(frame),
    fetchFrame: async (frame, aborted, how) => {
      options.push(how);
      if (gates.length < 4) await new Promise<void>((go) => gates.push(go));
      return origin.fetchFrame(frame, aborted);
    },
  };
  const cache = await openCache(t, join(scratchDirectory(t), 'root'));
  const completion = cache.completeImage({ files: [file], origin: slow, signal });
  await until(() => gates.length === 4);
  t.ok(options.every((how) => how !== undefined && 'background' in how && how.background === true));
  const read = cache.read(file, 0, 10, slow, signal);
  await until(() =>
    options.some((how) => how !== undefined && 'background' in how && !how.background),
  );
  t.equal(options.length, 4, 'it joined the fetch');
  for (const go of gates) go();
  await Promise.all([read, completion]);
});

t.test('an updated image: chunks that the old one has are copied', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const old = randomBytes(400_000);
  const changed = Buffer.concat([old.subarray(0, 40_960), randomBytes(4096), old.subarray(40_960)]);
  const first = new MemoryOrigin('old', [old, ...small(5)], 4096, 16_384);
  const second = new MemoryOrigin(
    'new',
    [changed, ...[...first.files.values()].slice(1)],
    4096,
    16_384,
  );
  const cache = await openCache(t, root);
  await cache.completeImage({ files: first.refs(), origin: first, signal });
  const done = await cache.completeImage({ files: second.refs(), origin: second, signal });
  t.equal(done.copiedBytes, 400_000);
  t.equal(second.fetched.length, 1);
  t.equal(tierFiles(root).length, 7);
  t.same(wrongTierFiles(root), []);
});

t.test('chunks are copied from files that are here in part, and only good ones', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const shared = randomBytes(40_960);
  const first = new MemoryOrigin('a', [Buffer.concat([shared, randomBytes(60_000)])], 4096, 8192);
  const second = new MemoryOrigin('b', [Buffer.concat([shared, randomBytes(50_000)])], 4096, 8192);
  const [a] = first.refs();
  const [b] = second.refs();
  if (a === undefined || b === undefined) throw new Error('no file');
  const before = await FileCache.open(cacheOptions(root));
  await before.read(a, 0, 40_960, first, signal);
  await before[Symbol.asyncDispose](); // until then the index may not have heard of all
  const cache = await openCache(t, root);
  const bytes = await cache.read(b, 0, 40_960, second, signal);
  t.ok(bytes.equals(shared));
  t.equal(second.fetched.length, 0);
  const done = await cache.completeImage({ files: [b], origin: second, signal });
  t.same(done, { totalBytes: 90_960, missingBytes: 0, copiedBytes: 0 });
  t.same(wrongTierFiles(root), []);
});

t.test('room is asked for in blocks of the disk, before a frame is fetched', async (t) => {
  const mounted = new MemoryOrigin('mounted', small(170), 4096, 4096);
  const tiny = Array.from({ length: 40 }, () => randomBytes(20));
  const image = new MemoryOrigin('tiny', tiny, 4096, 4096); // one frame of 800 bytes, 40 blocks
  const root = join(scratchDirectory(t), 'root');
  const filled = await openCache(t, root);
  for (const one of mounted.refs()) await filled.read(one, 0, one.size, mounted, signal);
  await filled[Symbol.asyncDispose]();
  const cache = await openCache(t, root, { quotaBytes: 200 * 4096 });
  for (const origin of [mounted, image]) await cache.mountImage(origin.id, origin.refs());
  await cache.usage();
  const completed = cache.completeImage({ files: image.refs(), origin: image, signal });
  await t.rejects(completed, { code: 'no-space' });
  t.same(image.fetched, []);
});

t.test('it ends where the quota does, and drives out only what nothing mounted uses', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const free = new MemoryOrigin('free', small(50), 4096, 4096);
  const mounted = new MemoryOrigin('mounted', small(100), 4096, 4096);
  const large = new MemoryOrigin('large', small(400), 4096, 4096);
  const filled = await FileCache.open(cacheOptions(root));
  for (const origin of [free, mounted]) {
    await filled.completeImage({ files: origin.refs(), origin, signal });
  }
  await filled[Symbol.asyncDispose]();
  const quotaBytes = 200 * 4096;
  const cache = await openCache(t, root, { quotaBytes });
  // Mounted as all that is completed: else it would drive out its own files, as long as there are passes.
  for (const origin of [mounted, large]) await cache.mountImage(origin.id, origin.refs());
  await cache.usage();
  await t.rejects(cache.completeImage({ files: large.refs(), origin: large, signal }), {
    code: 'no-space',
  });
  await cache.usage();
  for (const { content } of mounted.refs()) t.ok(await cache.has(content));
  t.ok(tierFiles(root).length <= 200 && tierFiles(root).length >= 180, `${tierFiles(root).length}`);
});

t.test('files are offered to other nodes from the tier that they are in', async (t) => {
  const directory = scratchDirectory(t);
  const fast = join(directory, 'fast');
  const shared = new SharedFolder(join(directory, 'shared'));
  const cache = await openCache(t, join(directory, 'root'), {
    tiers: [{ name: 'fast', directory: fast, quotaBytes: 1e9, freeSpaceFloorBytes: 0 }],
    shared,
  });
  const origin = image('a');
  const files = origin.refs();
  await cache.completeImage({ files, origin, signal });
  const contents = files.slice(0, 5).map(({ content }) => content);
  t.equal(await cache.hotFiles.move(contents, 'fast', signal), 5);
  shared.offered.clear();
  await cache.completeImage({ files, origin, signal });
  t.same(new Set(shared.offered.keys()), new Set(files.map(({ content }) => content)));
  for (const path of shared.offered.values()) t.ok(existsSync(path), path);
});

t.test('what goes wrong is told', async (t) => {
  const origin = image('a');
  const files = origin.refs();
  const cache = await openCache(t, join(scratchDirectory(t), 'root'));
  const unknown = { content: image('b').refs()[0]?.content ?? files[0]?.content, size: 5 };
  if (unknown.content === undefined) throw new Error('no file');
  await t.rejects(
    cache.completeImage({ files: [{ ...unknown, content: unknown.content }], origin, signal }),
    { code: 'not-found' },
  );
  origin.tamper = (bytes) => Buffer.alloc(bytes.length, 7);
  await t.rejects(cache.completeImage({ files, origin, signal }), { code: 'corrupt' });
  origin.tamper = () => {
    throw new ThinError('unavailable', 'Cannot reach it');
  };
  await t.rejects(cache.completeImage({ files, origin, signal }), { code: 'unavailable' });
  origin.tamper = (bytes) => bytes;
  await cache.completeImage({ files, origin, signal });
});
