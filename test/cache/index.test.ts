import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { chunkPlaces } from '../../src/cache/index-chunks.js';
import { IndexFeed } from '../../src/cache/index-feed.js';
import type { IndexChanges, IndexedFile } from '../../src/cache/index-files.js';
import { type CacheIndex, IndexThread } from '../../src/cache/index-thread.js';
import { cacheLayout, prepareRoot } from '../../src/cache/layout.js';
import { packFiles } from '../../src/cache/packed-files.js';
import { readPinFiles, removePinFile, writePinFile } from '../../src/cache/pin-files.js';
import { type Digest, digestHex, digestOf } from '../../src/digest.js';
import { ThinError } from '../../src/errors.js';
import { cacheOptions, openCache, scratchDirectory, until } from './cache-rig.js';
import { InlineIndex } from './inline-index.js';
import { metadataOf } from './metadata-of.js';

const nothing: IndexChanges = { placed: [], removed: [], touched: [], chunks: [] };

function indexed(content: Digest, allocated = 4096): IndexedFile {
  const name = digestHex(content);
  return { kind: 'complete', name, tier: 'local', content, size: 4000, allocated };
}

const numbered = (at: number) => digestOf(Buffer.from(`file ${at}`));

t.test('the thread answers, says what is wrong, and can be stopped at any time', async (t) => {
  const layout = cacheLayout(join(scratchDirectory(t), 'root'));
  prepareRoot(layout);
  const index = await IndexThread.open(layout);
  t.teardown(() => index.stop());
  t.match(await index.call('start'), { state: 'lost', suspects: false, onDisk: true });
  const totals = await index.call('apply', { ...nothing, placed: [indexed(numbered(1))] });
  t.match(totals, { bytes: 4096, completeFiles: 1 });
  const bad = { ...indexed(numbered(2)), allocated: 'many' as unknown as number };
  t.match(await index.call('apply', { ...nothing, placed: [bad] }), { completeFiles: 2 });
  await t.rejects(index.call('apply', {} as IndexChanges), { name: 'ThinError' });
  const call = index.call('totals');
  await Promise.all([index.stop(), t.rejects(call, { code: 'unavailable' })]);
  await t.rejects(index.call('totals'), { code: 'unavailable' });
  await index.stop();
});

t.test('thirty thousand files: recorded, found, evicted in order', async (t) => {
  const layout = cacheLayout(join(scratchDirectory(t), 'root'));
  prepareRoot(layout);
  const index = await InlineIndex.open(layout);
  t.teardown(() => index.stop());
  const count = 30_000;
  const contents = Array.from({ length: count }, (_, at) => numbered(at));
  for (let at = 0; at < count; at += 1000) {
    const placed = contents.slice(at, at + 1000).map((content) => indexed(content));
    await index.call('apply', { ...nothing, placed });
    const files = placed.map(({ content, size }) => ({ content, size }));
    await index.call('addMembers', `image ${at % 3000}`, files);
  }
  t.match(await index.call('totals'), { bytes: count * 4096, completeFiles: count });
  const recent = contents.slice(0, 1000);
  await index.call('apply', { ...nothing, touched: recent });
  const order: Digest[] = [];
  for (let at = { used: 0, id: 0 }; ; ) {
    const page = await index.call('candidates', 'local', at, 500);
    const last = page.at(-1);
    if (last === undefined) break;
    at = last;
    order.push(...page.map(({ content }) => content));
  }
  t.same(order.slice(0, 3), contents.slice(1000, 1003));
  t.same(order.slice(-1000), recent);
  t.equal(new Set(order).size, count);
  t.match(await index.call('imageUsage'), [
    { image: 'image 0', files: 10_000, completeFiles: 10_000 },
    { image: 'image 1000', files: 10_000 },
    { image: 'image 2000', files: 10_000 },
  ]);
});

t.test('chunks are found in complete and partial files, and not in removed ones', async (t) => {
  const layout = cacheLayout(join(scratchDirectory(t), 'root'));
  prepareRoot(layout);
  const index = await InlineIndex.open(layout);
  t.teardown(() => index.stop());
  const [file, chunkA, chunkB] = [numbered(1), numbered(2), numbered(3)];
  const places = [
    { digest: chunkA, offset: 0 },
    { digest: chunkB, offset: 2 ** 33 },
  ];
  const partial: IndexedFile = { ...indexed(file), kind: 'partial', name: 'ab'.repeat(32) };
  const chunks = [chunkPlaces(file, places)];
  await index.call('apply', { ...nothing, placed: [partial], chunks });
  t.same(await index.call('findChunks', [chunkB, numbered(9)]), [
    { content: file, size: 4000, partial: partial.name, offset: 2 ** 33 },
    undefined,
  ]);
  const { kind, name } = partial;
  const removed = [{ kind, name }];
  await index.call('apply', { ...nothing, placed: [indexed(file)], removed });
  t.same(
    await index.call('findChunks', [chunkA]),
    [{ content: file, size: 4000, partial: undefined, offset: 0 }],
    'the same file, promoted',
  );
  await index.call('apply', { ...nothing, removed: [{ kind: 'complete', name: digestHex(file) }] });
  t.same(await index.call('findChunks', [chunkA]), [undefined]);
  await index.call('apply', { ...nothing, chunks });
  t.same(await index.call('findChunks', [chunkA]), [undefined], 'evicted before it was noted');
});

t.test('what is placed anew is not durable until the next sync', async (t) => {
  const layout = cacheLayout(join(scratchDirectory(t), 'root'));
  prepareRoot(layout);
  const index = await InlineIndex.open(layout);
  t.teardown(() => index.stop());
  const content = numbered(1);
  await index.call('apply', { ...nothing, placed: [indexed(content)] });
  const before = await index.call('syncPoint');
  await index.call('apply', { ...nothing, placed: [indexed(content)] });
  const after = await index.call('syncPoint');
  t.ok(after.lastId > before.lastId, 'an id is not used twice');
});

t.test('pin files: names of metadata images, read back; damaged ones are none', (t) => {
  const folder = scratchDirectory(t);
  const directory = join(folder, 'pinned');
  mkdirSync(directory);
  const files = Array.from({ length: 1000 }, (_, at) => ({ content: numbered(at), size: at }));
  const image = 'registry.example/a:b\n"quoted" \u00e9';
  const metadata = metadataOf(folder, files);
  for (const name of [image, 'other', image]) writePinFile(directory, name, metadata);
  t.same(readdirSync(directory).length, 2, 'no draft is left');
  const read = () => readPinFiles(directory).sort((a, b) => b.image.length - a.image.length);
  t.same(
    read().map((pinned) => pinned.image),
    [image, 'other'],
  );
  const digests = new Set(
    read()[0]
      ?.files()
      .map(({ content }) => content),
  );
  t.same(digests, new Set(files.slice(1).map(({ content }) => content)), 'all that have bytes');
  removePinFile(directory, 'other');
  removePinFile(directory, 'other');
  const [name] = readdirSync(directory);
  if (name === undefined) throw new Error('no file');
  const bytes = readFileSync(metadata);
  for (const damaged of [Buffer.alloc(0), bytes.subarray(0, 5000), bytes.subarray(0, -4096)]) {
    writeFileSync(join(directory, name), damaged);
    t.throws(() => read()[0]?.files(), { code: 'corrupt' });
    t.same(readdirSync(directory), []);
  }
  for (const other of ['%zz.erofs', 'a.erofs.new', 'b']) writeFileSync(join(directory, other), '');
  t.same(read(), []);
  t.same(readdirSync(directory), []);
  t.throws(() => writePinFile(directory, 'gone', join(folder, 'gone')), { code: 'not-found' });
  t.end();
});

t.test('pin files as text, of versions before, are read', (t) => {
  const directory = scratchDirectory(t);
  const files = [7, 8].map((at) => ({ content: numbered(at), size: at }));
  const lines = files.map(({ content, size }) => `${digestHex(content)} ${size}\n`);
  const text = `thinfs pinned files 1\n"an image"\n${lines.join('')}`;
  const path = join(directory, digestHex(digestOf(Buffer.from('an image'))));
  writeFileSync(path, text);
  const [pinned, ...others] = readPinFiles(directory);
  t.same([pinned?.image, pinned?.files(), others], ['an image', files, []]);
  removePinFile(directory, 'an image');
  t.same(readdirSync(directory), []);
  for (const damage of [
    text.slice(0, -3),
    text.replace('files 1', 'files 2'),
    '',
    text.replace(/ 7\n/, ' x\n'),
  ]) {
    writeFileSync(path, damage);
    t.same(readPinFiles(directory), []);
    t.same(readdirSync(directory), []);
  }
  t.end();
});

t.test('an index that fails costs nothing but a look at the files next time', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const { openIndex } = cacheOptions(root);
  const state: { broken: boolean } = { broken: false };
  const cache = await openCache(t, root, {
    openIndex: async (layout) => {
      const inner = await openIndex?.(layout);
      if (inner === undefined) throw new Error('no index');
      return {
        call: (method, ...args) => {
          if (!state.broken || method === 'close') return inner.call(method, ...args);
          return Promise.reject(new Error('broken'));
        },
        stop: () => inner.stop(),
      };
    },
  });
  state.broken = true;
  using hold = cache.hold();
  const writer = cache.fileWriter(hold);
  const bytes = randomBytes(5000);
  await writer.write(bytes);
  const { content } = await writer.commit();
  await cache[Symbol.asyncDispose]();
  const options = cacheOptions(root);
  const next = await openCache(t, root, { log: options.log });
  t.ok(options.lines.length > 0, 'it was not closed in order');
  t.ok(await next.has(content));
  t.equal((await next.usage()).completeFiles, 1);
});

t.test('what a full disk did not take is recorded when it takes it, or given up', async (t) => {
  const layout = cacheLayout(join(scratchDirectory(t), 'root'));
  prepareRoot(layout);
  const index = await InlineIndex.open(layout);
  t.teardown(() => index.stop());
  let failures = 0;
  const full: CacheIndex = {
    call: async (method, ...args) => {
      if (failures === 3) return index.call(method, ...args);
      failures++;
      throw new ThinError('no-space', 'Cannot record: the disk is full');
    },
    stop: () => index.stop(),
  };
  const feed = new IndexFeed(
    full,
    () => () => {},
    () => {},
  );
  t.teardown(() => feed.close());
  const content = numbered(1);
  feed.placedMany('local', packFiles([{ content, size: 4000, allocated: 4096 }], 1));
  feed.placed(indexed(numbered(2)));
  await until(async () => (await index.call('totals')).completeFiles === 2);
  t.ok(feed.lossless);
  failures = 0;
  const one = packFiles([{ content: numbered(3), size: 4000, allocated: 4096 }], 1);
  feed.placedMany('local', Buffer.alloc(200_001 * one.length, one));
  t.notOk(feed.lossless, 'what is too much to wait is found by the next start');
});

t.test('what is placed and removed is recorded in the order in which it happened', async (t) => {
  const layout = cacheLayout(join(scratchDirectory(t), 'root'));
  prepareRoot(layout);
  const index = await InlineIndex.open(layout);
  t.teardown(() => index.stop());
  const [gone, back] = [numbered(1), numbered(2)];
  const packed = (content: Digest) => packFiles([{ content, size: 4000, allocated: 4096 }], 1);
  let during: (() => void) | undefined;
  const slow: CacheIndex = {
    call: async (method, ...args) => {
      const result = await index.call(method, ...args);
      during?.();
      during = undefined;
      return result;
    },
    stop: () => index.stop(),
  };
  const feed = new IndexFeed(
    slow,
    () => () => {},
    (error) => t.fail(`${error}`),
  );
  t.teardown(() => feed.close());
  feed.placed(indexed(back));
  during = () => {
    feed.placedMany('local', packed(gone));
    feed.removed('complete', digestHex(gone));
  };
  await feed.flush();
  feed.removed('complete', digestHex(back));
  feed.placedMany('fast', packed(back));
  await feed.flush();
  t.match(await index.call('totals'), { completeFiles: 1, tiers: { fast: 4096 } });
  t.ok(feed.lossless);

  const many = Array.from({ length: 1000 }, (_, at) => indexed(numbered(10 + at)));
  for (const file of many) feed.placed(file);
  await feed.flush();
  for (const { kind, name } of many) feed.removed(kind, name);
  for (const file of many.slice(-1)) feed.placed(file);
  await feed.flush();
  t.match(await index.call('totals'), { completeFiles: 2 }, 'more than is recorded at once');
});
