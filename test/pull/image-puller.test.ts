import { createHash, randomBytes } from 'node:crypto';
import {
  copyFileSync,
  createReadStream,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t, { type Test } from 'tap';
import { FileCache } from '../../src/cache/file-cache.js';
import { layerRecordPath, layerRecordsFolder } from '../../src/cache/layer-records.js';
import { type Digest, digestOf } from '../../src/digest.js';
import { ThinError } from '../../src/errors.js';
import { mergeLayers } from '../../src/metadata/merge.js';
import { FileArrivals } from '../../src/pull/file-arrivals.js';
import { ImagePuller } from '../../src/pull/image-puller.js';
import type { PullLayer } from '../../src/pull/layer-source.js';
import { pullModes } from '../../src/pull/pull-mode.js';
import type { PullProgress } from '../../src/pull/pull-run.js';
import { cacheOptions, openCache, scratchDirectory, signal, until } from '../cache/cache-rig.js';
import { tierFiles, wrongTierFiles } from '../cache/tier-listing.js';
import { pathsOf } from '../layer/check-tree.js';
import { readRecord } from '../layer/read-records.js';
import { snapshotOfTree } from '../layer/tree-snapshot.js';
import { blobPath, testImage } from '../support/images.js';
import { archive, file } from '../support/tar-builder.js';
import {
  contentsIn,
  inlineWorkers,
  layerOf,
  leavesNothing,
  piecesOf,
  pullAndPin,
  treeOf,
} from './pull-rig.js';

type CacheChanges = Parameters<typeof openCache>[2];

async function openNode(t: Test, changes: CacheChanges = {}) {
  const root = join(scratchDirectory(t), 'root');
  const cache = await openCache(t, root, changes);
  return { root, cache, puller: await ImagePuller.open(cache, root, { workers: inlineWorkers }) };
}

/** A real image: its layers from the disk, and what its layers make, read without any of the above. */
async function realImage(name: 'torture' | 'nginx') {
  const image = await testImage(name);
  const layers = image.layers.map(({ descriptor, diffId }): PullLayer => {
    const path = blobPath(image.layout, descriptor.digest);
    const open: PullLayer['open'] = (_signal, { offset, length }) =>
      createReadStream(path, { start: offset, end: offset + length - 1 });
    return { descriptor, diffId, open };
  });
  const records = [];
  const contents = new Map<Digest, Buffer>();
  for (const { descriptor } of image.layers) {
    records.push(
      await readRecord([readFileSync(blobPath(image.layout, descriptor.digest))], contents),
    );
  }
  const size = layers.reduce((sum, { descriptor }) => sum + descriptor.size, 0);
  return { layers, contents, size, expected: snapshotOfTree(mergeLayers(records)) };
}

t.test('all modes bring the same tree and the same bytes', async (t) => {
  const { layers, contents, size, expected } = await realImage('torture');
  let first: Buffer | undefined;
  for (const mode of pullModes) {
    const { root, cache, puller } = await openNode(t);
    const seen: PullProgress[] = [];
    const onProgress = (progress: PullProgress) => seen.push(progress);
    const pulled = await pullAndPin(puller, { image: 'i', layers, mode, signal, onProgress });
    first ??= pulled.metadata;
    t.ok(pulled.metadata.equals(first), `${mode}: the same metadata`);
    const tree = treeOf(pulled);
    t.strictSame(snapshotOfTree(tree), expected, mode);
    let wrong = 0;
    for (const [content, bytes] of contentsIn(cache, pathsOf(tree).values())) {
      if (!contents.get(content)?.equals(bytes)) wrong++;
    }
    t.equal(wrong, 0, mode);
    t.same(wrongTierFiles(root), []);
    t.equal(pulled.compressedBytes, size);
    const last = seen.at(-1)?.layers ?? [];
    t.same(new Set(last.map(({ phase }) => phase)), new Set(['done']));
    const downloaded = last.map((layer) => layer.downloaded);
    t.equal(
      downloaded.reduce((sum, bytes) => sum + bytes, 0),
      size,
    );
    const sampled = seen.map(({ sample }) => sample.bytes);
    t.equal(
      sampled.reduce((sum, bytes) => sum + bytes, 0),
      size,
      'the samples add up',
    );
    const [usage] = (await cache.usage()).images;
    const { files } = pulled;
    t.match(usage, { image: 'i', pinned: true, files, completeFiles: files });
    t.same(readdirSync(join(root, 'partial-layers')), [], 'what was kept of layers is gone');
  }
});

t.test('on threads of their own', async (t) => {
  const { layers, contents, expected } = await realImage('nginx');
  const root = join(scratchDirectory(t), 'root');
  const cache = await openCache(t, root);
  const puller = await ImagePuller.open(cache, root);
  const pulled = await pullAndPin(puller, { image: 'nginx', layers, signal });
  const tree = treeOf(pulled);
  t.strictSame(snapshotOfTree(tree), expected);
  t.ok(contentsIn(cache, pathsOf(tree).values()).size <= contents.size);
  t.same(wrongTierFiles(root), []);
  const wrong = layerOf(archive(file('b', 'y')), { diffId: digestOf(Buffer.from('x')) });
  const failing = { image: 'i', layers: [...layers, wrong], signal };
  await t.rejects(puller.pull(failing), { code: 'corrupt', message: /diff ID/ });
});

t.test('what is here is not downloaded again', async (t) => {
  const { root, cache, puller } = await openNode(t);
  const shared = layerOf(archive(file('a', randomBytes(200_000)), file('b', 'b')));
  const own = layerOf(archive(file('c', randomBytes(100_000))));
  await pullAndPin(puller, { image: 'first', layers: [shared], signal });
  t.equal(shared.served, shared.descriptor.size);
  const { metadata } = await pullAndPin(puller, { image: 'i', layers: [shared, own], signal });
  t.equal(shared.served, shared.descriptor.size, 'nothing of the shared layer');
  t.equal(own.served, own.descriptor.size);
  await cache[Symbol.asyncDispose]();

  const again = await openCache(t, root);
  const seen: PullProgress[] = [];
  const after = await ImagePuller.open(again, root, { workers: inlineWorkers });
  const onProgress = (progress: PullProgress) => seen.push(progress);
  const options = { image: 'again', layers: [shared, own], signal, onProgress };
  t.ok((await pullAndPin(after, options)).metadata.equals(metadata), 'also after a restart');
  t.equal(shared.served + own.served, shared.descriptor.size + own.descriptor.size);
  t.same(
    seen.at(-1)?.layers.map(({ phase }) => phase),
    ['here', 'here'],
  );
});

t.test(
  'a layer one of whose files has gone, or whose record is damaged, comes again',
  async (t) => {
    const { root, cache, puller } = await openNode(t);
    const content = randomBytes(5000);
    const layer = layerOf(archive(file('a', content), file('b', 'b')));
    await pullAndPin(puller, { image: 'first', layers: [layer], signal });
    await cache.unpinImage('first');
    await cache.gc({ keepImages: [] });
    t.same(tierFiles(root), []);
    await pullAndPin(puller, { image: 'first', layers: [layer], signal });
    t.equal(layer.served, 2 * layer.descriptor.size);
    const [record = ''] = readdirSync(join(root, 'layers'));
    const path = join(root, 'layers', record);
    const bytes = readFileSync(path);
    bytes.writeUInt8(bytes.readUInt8(40) ^ 1, 40);
    writeFileSync(path, bytes);
    await pullAndPin(puller, { image: 'second', layers: [layer], signal });
    t.equal(layer.served, 3 * layer.descriptor.size);
    t.notOk(readFileSync(path).equals(bytes), 'and has a good record again');
  },
);

t.test('pulls at the same time that share layers bring each once', async (t) => {
  const { cache, puller } = await openNode(t);
  let release = (): void => undefined;
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const shared = layerOf(archive(file('a', randomBytes(300_000))), {
    serve: async function* (blob) {
      await held;
      yield* piecesOf(blob);
    },
  });
  const own = [1, 2, 3].map(() => layerOf(archive(file('own', randomBytes(50_000)))));
  const pulls = own.map((layer, at) =>
    pullAndPin(puller, { image: `${at}`, layers: [shared, layer, shared], signal }),
  );
  await until(() => shared.requests > 0);
  release();
  const pulled = await Promise.all(pulls);
  t.equal(shared.served, shared.descriptor.size);
  t.equal(shared.requests, 1);
  t.same(
    pulled.map(({ files }) => files),
    [2, 2, 2],
  );
  t.equal((await cache.usage()).images.filter(({ pinned }) => pinned).length, 3);
});

t.test('a layer that another pull has brought and still holds is here', async (t) => {
  const { puller } = await openNode(t);
  const shared = layerOf(archive(file('a', randomBytes(300_000))));
  await using _first = await puller.pull({ image: 'first', layers: [shared], signal });
  let last: PullProgress | undefined;
  const onProgress = (progress: PullProgress) => {
    last = progress;
  };
  await using _second = await puller.pull({ image: 'i', layers: [shared], signal, onProgress });
  t.match(last?.layers, [{ phase: 'here', downloaded: 0, writtenBytes: 0 }]);
  t.equal(shared.requests, 1);
});

t.test('a pull that is given up does not end one that wants the same layer', async (t) => {
  const { puller } = await openNode(t);
  let release = (): void => undefined;
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const layer = layerOf(archive(file('a', randomBytes(300_000))), {
    serve: async function* (blob) {
      await held;
      yield* piecesOf(blob);
    },
  });
  const stop = new AbortController();
  const first = puller.pull({ image: 'first', layers: [layer], signal: stop.signal });
  const second = pullAndPin(puller, { image: 'second', layers: [layer], signal });
  await until(() => layer.requests > 0);
  stop.abort();
  await t.rejects(first, { code: 'canceled' });
  release();
  t.match(await second, { files: 1 });
  t.equal(layer.requests, 1);
});

t.test('a pull goes on inside a layer where an earlier one stopped', async (t) => {
  for (const mode of ['auto', 'docker'] as const) {
    const { root, puller } = await openNode(t);
    const stop = new AbortController();
    let cut = 1_500_000;
    const layer = layerOf(archive(file('a', randomBytes(2_000_000)), file('b', 'b')), {
      serve: async function* (blob) {
        for await (const bytes of piecesOf(blob)) {
          yield bytes;
          cut -= bytes.length;
          if (cut < 0) stop.abort();
        }
      },
    });
    const pull = puller.pull({ image: 'i', layers: [layer], mode, signal: stop.signal });
    await t.rejects(pull, { code: 'canceled' }, mode);
    const [kept = ''] = readdirSync(join(root, 'partial-layers'));
    const { size } = statSync(join(root, 'partial-layers', kept));
    t.ok(size >= 1_400_000, `${size} bytes are kept`);
    layer.served = 0;
    cut = Number.POSITIVE_INFINITY;
    const seen: PullProgress[] = [];
    const onProgress = (progress: PullProgress) => seen.push(progress);
    t.match(
      await pullAndPin(puller, { image: 'i', layers: [layer], mode, signal, onProgress }),
      { files: 2 },
      mode,
    );
    t.equal(layer.served, layer.descriptor.size - size, `${mode}: only the rest came`);
    t.match(seen.at(-1)?.layers, [{ resumed: size, downloaded: layer.descriptor.size - size }]);
    t.same(readdirSync(join(root, 'partial-layers')), []);
  }
});

t.test('a kept beginning that is wrong costs one more download', async (t) => {
  const { root, puller } = await openNode(t);
  const stop = new AbortController();
  let pieces = 0;
  const layer = layerOf(archive(file('a', randomBytes(300_000))), {
    serve: async function* (blob) {
      for await (const bytes of piecesOf(blob)) {
        yield bytes;
        pieces += 1;
        if (pieces === 3) stop.abort();
      }
    },
  });
  const first = puller.pull({ image: 'i', layers: [layer], signal: stop.signal });
  await t.rejects(first, { code: 'canceled' });
  const [kept = ''] = readdirSync(join(root, 'partial-layers'));
  const path = join(root, 'partial-layers', kept);
  const keptBytes = statSync(path).size;
  writeFileSync(path, randomBytes(keptBytes));
  layer.served = 0;
  let last: PullProgress | undefined;
  const onProgress = (progress: PullProgress) => {
    last = progress;
  };
  await pullAndPin(puller, { image: 'i', layers: [layer], signal, onProgress });
  const rest = layer.served - layer.descriptor.size;
  t.ok(rest >= 0 && rest < layer.descriptor.size, 'the rest in vain, then all of it');
  const [state] = last?.layers ?? [];
  t.match(state, { resumed: keptBytes, downloaded: layer.served, lost: keptBytes + rest });
  t.same(readdirSync(join(root, 'partial-layers')), []);
  t.same(wrongTierFiles(root), []);
});

t.test('a beginning that cannot be removed is no failure, and keeps nothing', async (t) => {
  const { root, cache, puller } = await openNode(t);
  const layer = layerOf(archive(file('a', randomBytes(300_000))), {
    serve: async function* (blob) {
      yield* piecesOf(blob);
      const [name = ''] = readdirSync(join(root, 'partial-layers'));
      rmSync(join(root, 'partial-layers', name));
      mkdirSync(join(root, 'partial-layers', name));
    },
  });
  const pulled = await puller.pull({ image: 'i', layers: [layer], signal });
  t.equal(pulled.files, 1);
  await pulled[Symbol.asyncDispose]();
  await leavesNothing(t, cache, root);
});

t.test(
  'an image whose layers were here is known, and its files are told as they come',
  async (t) => {
    const root = join(scratchDirectory(t), 'root');
    const cache = await openCache(t, root);
    const arrivals = new FileArrivals();
    const puller = await ImagePuller.open(cache, root, { workers: inlineWorkers, arrivals });
    const bytes = randomBytes(200_000);
    const lower = layerOf(archive(file('a', bytes), file('b', 'b')));
    const upper = layerOf(archive(file('c', randomBytes(2_000_000))));
    const layers = [lower, upper];
    t.equal(await puller.known(layers, signal), undefined);
    const { metadata, files, plainBytes } = await pullAndPin(puller, {
      image: 'i',
      layers,
      signal,
    });
    await cache.unpinImage('i');
    await cache.gc({ keepImages: [] });
    {
      await using known = await puller.known(layers, signal);
      const digest = digestOf(metadata);
      t.match(known, { metadata: { digest }, files, missing: files, plainBytes });
    }
    const records = layers.map(({ diffId }) => layerRecordPath(layerRecordsFolder(root), diffId));
    t.equal(readdirSync(join(root, 'layers')).length, records.length, 'and no draft');

    const wait = (content: Digest, end: AbortSignal) =>
      arrivals.wait(content, () => cache.has(content), end);
    const stop = new AbortController();
    const vain = wait(digestOf(Buffer.from('of no image')), stop.signal);
    const came = [bytes, Buffer.from('b')].map((content) => wait(digestOf(content), signal));
    await pullAndPin(puller, { image: 'i', layers, signal, asItComes: true });
    await Promise.all(came);
    await wait(digestOf(bytes), signal);
    stop.abort(new Error('given up'));
    await t.rejects(vain, { message: 'given up' });

    const [first = '', second = ''] = records;
    copyFileSync(first, second);
    t.equal(
      await puller.known(layers, signal),
      undefined,
      'a record of another layer says nothing',
    );
  },
);

t.test('a record that is another layer’s is not believed', async (t) => {
  const { root, puller } = await openNode(t);
  const layers = ['a', 'b'].map((name) => layerOf(archive(file(name, randomBytes(3000)))));
  await using _first = await puller.pull({ image: 'first', layers, signal });
  const [a, b] = layers.map(({ diffId }) => layerRecordPath(layerRecordsFolder(root), diffId));
  copyFileSync(a ?? '', b ?? '');
  await _first[Symbol.asyncDispose]();
  const second = await pullAndPin(puller, { image: 'second', layers, signal });
  t.same([...treeOf(second).children.keys()].sort(), ['a', 'b']);
  t.same(
    layers.map(({ requests }) => requests),
    [1, 2],
  );
});

t.test('a layer that is not what was promised leaves nothing that counts', async (t) => {
  const good = layerOf(archive(file('good', randomBytes(3000))));
  const tar = archive(file('a', randomBytes(2_000_000)), file('b', randomBytes(500)));
  const { descriptor } = layerOf(tar);
  const elsewhere = digestOf(Buffer.from('x'));
  const bad = {
    'other bytes': layerOf(tar, { digest: elsewhere }),
    'another size': layerOf(tar, { size: descriptor.size + 1 }),
    'another diff ID': layerOf(tar, { diffId: elsewhere }),
    'no layer': layerOf(tar, { mediaType: 'application/json' }),
    'an end too early': layerOf(tar, { serve: (blob) => piecesOf(blob.subarray(0, 1_500_000)) }),
    'a changed byte': layerOf(tar, {
      serve: (blob) => {
        const copy = Buffer.from(blob);
        copy.writeUInt8(copy.readUInt8(1_000_000) ^ 1, 1_000_000);
        return piecesOf(copy);
      },
    }),
  };
  for (const [what, layer] of Object.entries(bad)) {
    for (const mode of ['auto', 'sequential'] as const) {
      const { root, cache, puller } = await openNode(t);
      const pull = puller.pull({ image: 'i', layers: [good, layer], mode, signal });
      await t.rejects(pull, { code: 'corrupt' }, `${what}, ${mode}`);
      t.ok(tierFiles(root).length <= 1, `${what}, ${mode}: nothing of it stays`);
      await leavesNothing(t, cache, root);
      t.same(readdirSync(join(root, 'partial-layers')), [], `${what}, ${mode}: nothing is kept`);
    }
  }
});

t.test('one failing layer ends the download of the others', async (t) => {
  const { root, cache, puller } = await openNode(t);
  let ended = false;
  const endless = layerOf(archive(file('a', randomBytes(200_000))), {
    serve: async function* (blob, layerSignal) {
      try {
        yield blob.subarray(0, 50_000);
        await new Promise((_resolve, reject) => {
          layerSignal.addEventListener('abort', () => reject(layerSignal.reason));
        });
      } finally {
        ended = true;
      }
    },
  });
  const wrong = layerOf(archive(file('b', 'y')), { diffId: digestOf(Buffer.from('x')) });
  const options = { image: 'i', layers: [endless, wrong], mode: 'parallel', signal } as const;
  await t.rejects(puller.pull(options), { code: 'corrupt', message: /diff ID/ });
  t.ok(ended, 'before the pull has ended');
  await leavesNothing(t, cache, root);
});

t.test('where an image is used as it comes, one refused layer ends no other', async (t) => {
  const { root, cache, puller } = await openNode(t);
  const refused = layerOf(archive(file('a', 'x')), {
    serve: () => {
      throw new ThinError('denied', 'Cannot get layer: it is refused');
    },
  });
  const content = Buffer.from('what a program waits for');
  const late = layerOf(archive(file('b', content)), {
    serve: async function* (blob, layerSignal) {
      // Whoever would end it has had many turns since.
      for (let turns = 0; turns < 100; turns += refused.requests) await nextTurn();
      layerSignal.throwIfAborted();
      yield blob;
    },
  });
  const seen: PullProgress[] = [];
  const onProgress = (progress: PullProgress) => seen.push(progress);
  const options = { image: 'i', layers: [refused, late], asItComes: true, signal, onProgress };
  await t.rejects(puller.pull(options), { code: 'denied' });
  t.match(seen.at(-1)?.layers, [{ phase: 'failed' }, { phase: 'done' }]);
  t.ok(await cache.has(digestOf(content)));
  await leavesNothing(t, cache, root);
});

t.test('a pull that is given up ends at once', async (t) => {
  const { root, cache, puller } = await openNode(t);
  const stop = new AbortController();
  const layer = layerOf(archive(file('a', randomBytes(200_000))), {
    serve: async function* (blob, layerSignal) {
      yield blob.subarray(0, 50_000);
      stop.abort();
      await new Promise((_resolve, reject) => {
        const onAbort = () => reject(layerSignal.reason);
        layerSignal.addEventListener('abort', onAbort);
        if (layerSignal.aborted) onAbort();
      });
    },
  });
  const options = { image: 'i', layers: [layer], signal: stop.signal };
  await t.rejects(puller.pull(options), { code: 'canceled' });
  await t.rejects(puller.pull(options), { code: 'canceled' });
  await leavesNothing(t, cache, root);
});

t.test('an image that has no room says so, and takes none', async (t) => {
  const { root, cache, puller } = await openNode(t, { quotaBytes: 1_000_000 });
  const files = Array.from({ length: 40 }, (_, at) => file(`${at}`, randomBytes(50_000)));
  const pull = puller.pull({ image: 'i', layers: [layerOf(archive(...files))], signal });
  await t.rejects(pull, { code: 'no-space', message: /of 1000000 bytes are in use/ });
  await leavesNothing(t, cache, root);
  const small = layerOf(archive(file('a', randomBytes(300_000))));
  t.match(await pullAndPin(puller, { image: 'i', layers: [small], signal }), { files: 1 });
});

t.test('files that are here are not written again, and old images make room', async (t) => {
  const limits = { quotaBytes: 3_000_000 };
  const { root, cache, puller } = await openNode(t, limits);
  const shared = randomBytes(900_000);
  const first = layerOf(archive(file('a', shared), file('b', randomBytes(900_000))));
  const second = layerOf(archive(file('a', shared), file('c', randomBytes(1_100_000))));
  const third = layerOf(archive(file('d', randomBytes(1_900_000))));
  await pullAndPin(puller, { image: 'first', layers: [first], signal });
  await pullAndPin(puller, { image: 'second', layers: [second], signal });
  t.equal(tierFiles(root).length, 3);
  const pull = puller.pull({ image: 'third', layers: [third], signal });
  await t.rejects(pull, { code: 'no-space' }, 'pinned images are not given up');
  await cache.unpinImage('first');
  await cache.unpinImage('second');
  await cache[Symbol.asyncDispose]();
  const again = await FileCache.open(cacheOptions(root, limits));
  t.teardown(() => again[Symbol.asyncDispose]());
  const after = await ImagePuller.open(again, root, { workers: inlineWorkers });
  await pullAndPin(after, { image: 'third', layers: [third], signal });
  t.ok((await again.usage()).bytes <= 3_000_000);
});

t.test('odd layers: of no bytes, of no entries, without an image at all', async (t) => {
  const { puller } = await openNode(t);
  const empty = layerOf(Buffer.alloc(0), { blob: Buffer.alloc(0) });
  const bare = layerOf(archive());
  const options = { image: 'i', layers: [empty, bare, empty], signal };
  t.match(await pullAndPin(puller, options), { files: 0, plainBytes: 1024 });
  t.match(await pullAndPin(puller, { image: 'none', layers: [], signal }), { files: 0 });
});

t.test('memory does not grow with the layer', async (t) => {
  const { puller } = await openNode(t);
  collectAsTheServerDoes(t);
  const block = randomBytes(1024 * 1024);
  const count = 150;
  const header = file('big', Buffer.alloc(0), { size: count * block.length });
  const hash = createHash('sha256').update(header);
  for (let at = 0; at < count; at++) hash.update(block);
  const end = Buffer.alloc(1024);
  const digest = `sha256:${hash.update(end).digest('hex')}`;
  let peak = 0;
  const before = process.memoryUsage().rss;
  const size = header.length + count * block.length + end.length;
  const layer: PullLayer = {
    descriptor: { mediaType: 'application/vnd.oci.image.layer.v1.tar', digest, size },
    diffId: digest,
    open: async function* (_signal, { offset, length }) {
      for (let at = offset; at < offset + length; ) {
        peak = Math.max(peak, process.memoryUsage().arrayBuffers);
        const inside = at - header.length;
        const from = inside < 0 ? header.subarray(at) : block.subarray(inside % block.length);
        const piece = at >= size - end.length ? end.subarray(at - size) : from;
        const bytes = piece.subarray(0, Math.min(65_536, size - end.length - at || piece.length));
        yield bytes.subarray(0, offset + length - at);
        at += Math.min(bytes.length, offset + length - at);
      }
    },
  };
  const { plainBytes } = await pullAndPin(puller, { image: 'big', layers: [layer], signal });
  t.ok(plainBytes > 150_000_000);
  t.ok(peak < 40_000_000, `${peak} bytes of buffers, ${before} resident before`);
});

/** The daemon's server is started with --expose-gc: without it V8 lets 30 MiB of garbage gather. */
function collectAsTheServerDoes(t: Test): void {
  if (globalThis.gc !== undefined) return;
  setFlagsFromString('--expose-gc');
  globalThis.gc = runInNewContext('gc');
  t.teardown(() => {
    globalThis.gc = undefined;
  });
  globalThis.gc?.();
}

t.test(
  'a merge that cannot be prepared fails nothing yet; of what fails none is begun',
  async (t) => {
    const { root, cache } = await openNode(t);
    let begun = 0;
    const startMerge: typeof inlineWorkers.startMerge = (request) => {
      begun += 1;
      if (begun === 1) throw new Error('there is no thread');
      return inlineWorkers.startMerge(request);
    };
    const puller = await ImagePuller.open(cache, root, {
      workers: { ...inlineWorkers, startMerge },
    });
    const tar = archive(file('a', 'bytes'));
    const pulled = await puller.pull({ image: 'i', layers: [layerOf(tar)], signal });
    await pulled[Symbol.asyncDispose]();
    t.equal(begun, 2);
    const wrong = layerOf(archive(file('b', 'bytes')), { diffId: digestOf(Buffer.from('x')) });
    // How it gets on is not looked at before it has failed, however long that takes.
    t.intercept(globalThis, 'setInterval', { value: () => undefined });
    await t.rejects(puller.pull({ image: 'j', layers: [wrong], signal }), { code: 'corrupt' });
    t.equal(begun, 2);
  },
);
