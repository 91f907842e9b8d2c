import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import t, { type Test } from 'tap';
import { FileCache } from '../../src/cache/file-cache.js';
import { type Digest, digestOf } from '../../src/digest.js';
import type { TreeNode } from '../../src/image/tree.js';
import { mergeLayers } from '../../src/metadata/merge.js';
import { type PullLayer, pullImage } from '../../src/pull/pull-image.js';
import { cacheOptions, openCache, scratchDirectory, until } from '../cache/cache-rig.js';
import { filesIn, tierFiles, wrongTierFiles } from '../cache/tier-listing.js';
import { pathsOf, seenAs } from '../layer/check-tree.js';
import { readRecord, sourceOf } from '../layer/read-records.js';
import { tortureLayers } from '../layer/torture-layers.js';
import { snapshotOfTree } from '../layer/tree-snapshot.js';
import { blobPath, testImage } from '../support/images.js';
import { archive, directory, file, hardlink } from '../support/tar-builder.js';

const signal = new AbortController().signal;
const mediaType = 'application/vnd.oci.image.layer.v1.tar+gzip';
const pieceBytes = 50_000;
/** Of longer files only the size is looked at. */
const readBytesMax = 64 * 1024 * 1024;

function pieces(bytes: Buffer): Buffer[] {
  const count = Math.ceil(bytes.length / pieceBytes);
  return Array.from({ length: count }, (_, at) =>
    bytes.subarray(at * pieceBytes, (at + 1) * pieceBytes),
  );
}

function layerOf(tar: Buffer, changes: Partial<PullLayer['descriptor']> = {}): PullLayer {
  const blob = gzipSync(tar);
  return {
    descriptor: { mediaType, digest: digestOf(blob), size: blob.length, ...changes },
    diffId: digestOf(tar),
    open: () => sourceOf(pieces(blob)),
  };
}

/** The contents of a tree's files, out of the cache. */
function contentsIn(cache: FileCache, nodes: Iterable<TreeNode>): Map<Digest, Buffer> {
  const contents = new Map<Digest, Buffer>();
  for (const node of nodes) {
    if (node.type !== 'file') continue;
    const kept = node.size > 0 && node.size < readBytesMax;
    contents.set(node.content, kept ? readFileSync(cache.pathOf(node.content)) : Buffer.alloc(0));
  }
  return contents;
}

for (const { rule, name, layers, expected } of tortureLayers()) {
  t.test(`${rule} ${name}`, async (t) => {
    const cache = await openCache(t, join(scratchDirectory(t), 'root'));
    const described = await Promise.all(
      layers.map(async (blob): Promise<PullLayer> => {
        const record = await readRecord([blob], new Map()).catch(() => undefined);
        return {
          descriptor: { mediaType, digest: digestOf(blob), size: blob.length },
          diffId: record?.diffId ?? digestOf(blob),
          open: () => sourceOf(pieces(blob)),
        };
      }),
    );
    const pull = pullImage({ image: 'torture', layers: described, cache, signal });
    if (expected instanceof RegExp) {
      await t.rejects(pull, { code: 'corrupt' });
      t.same((await cache.usage()).images, [], 'nothing is part of an image');
      return;
    }
    const { root } = await pull;
    const contents = contentsIn(cache, pathsOf(root).values());
    t.strictSame(seenAs(expected, root, contents), expected);
    const seen = Object.values(expected).filter((node) => (node.content ?? '').length > 0);
    const stored = cache.tierDirectories.flatMap(filesIn);
    t.ok(stored.length >= Math.min(seen.length, 1));
  });
}

t.test(
  'a real image is the same tree with the same bytes as when its layers are read',
  async (t) => {
    const image = await testImage('base');
    const root = join(scratchDirectory(t), 'root');
    const cache = await openCache(t, root);
    const layers = image.layers.map(
      ({ descriptor, diffId }): PullLayer => ({
        descriptor,
        diffId,
        open: () => createReadStream(blobPath(image.layout, descriptor.digest)),
      }),
    );
    const sizes = image.layers.map(({ descriptor }) => descriptor.size);
    let progress = 0;
    const pulled = await pullImage({
      image: 'base',
      layers,
      cache,
      signal,
      onProgress: ({ compressedBytes }) => {
        progress = Math.max(progress, compressedBytes);
      },
    });
    const records = [];
    const contents = new Map<Digest, Buffer>();
    for (const layer of image.layers) {
      const blob = readFileSync(blobPath(image.layout, layer.descriptor.digest));
      records.push(await readRecord([blob], contents));
    }
    t.strictSame(snapshotOfTree(pulled.root), snapshotOfTree(mergeLayers(records)));
    t.same(wrongTierFiles(root), []);
    let missing = 0;
    for (const [content, bytes] of contentsIn(cache, pathsOf(pulled.root).values())) {
      if (!contents.get(content)?.equals(bytes)) missing++;
    }
    t.equal(missing, 0);
    t.equal(
      pulled.compressedBytes,
      sizes.reduce((sum, size) => sum + size, 0),
    );
    t.equal(progress, Math.max(...sizes));
    const [usage] = (await cache.usage()).images;
    t.match(usage, {
      image: 'base',
      pinned: true,
      files: pulled.files,
      completeFiles: pulled.files,
    });
  },
);

t.test('files of all sizes and kinds, large ones and sparse ones', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const cache = await openCache(t, root);
  const contents = [0, 1, 511, 512, 1024 * 1024, 1024 * 1024 + 1, 5_000_000].map((size) =>
    randomBytes(size),
  );
  const twice = randomBytes(2_000_000);
  const tar = archive(
    directory('d/'),
    ...contents.map((bytes, at) => file(`d/${at}`, bytes)),
    file('d/twice', twice),
    file('d/again', twice),
    hardlink('d/link', 'd/3'),
  );
  const { root: tree, files } = await pullImage({
    image: 'i',
    layers: [layerOf(tar)],
    cache,
    signal,
  });
  t.equal(files, contents.length);
  t.equal(tierFiles(root).length, contents.length, 'each content once, the empty one not at all');
  const paths = pathsOf(tree);
  for (const [at, bytes] of contents.entries()) {
    const node = paths.get(`d/${at}`);
    if (node?.type !== 'file') throw new Error(`no file d/${at}`);
    t.equal(node.content, digestOf(bytes));
    t.equal(node.size, bytes.length);
  }
  t.equal(paths.get('d/link'), paths.get('d/3'));
  t.same(wrongTierFiles(root), []);
});

async function leavesNothing(t: Test, cache: FileCache, root: string): Promise<void> {
  t.same((await cache.usage()).images, []);
  t.same(wrongTierFiles(root), []);
  await cache.gc({ keepImages: [] });
  t.same(tierFiles(root), [], 'what was stored is held by nothing');
}

t.test('a layer that is not what was promised leaves nothing that counts', async (t) => {
  const good = layerOf(archive(file('good', randomBytes(3000))));
  const tar = archive(file('a', randomBytes(2_000_000)), file('b', randomBytes(500)));
  const blob = gzipSync(tar);
  const bad: Record<string, PullLayer> = {
    'other bytes': layerOf(tar, { digest: digestOf(Buffer.from('x')) }),
    'another size': layerOf(tar, { size: blob.length + 1 }),
    'another diff ID': { ...layerOf(tar), diffId: digestOf(Buffer.from('x')) },
    'an end too early': {
      ...layerOf(tar),
      open: () => sourceOf(pieces(blob.subarray(0, 1_500_000))),
    },
    'a changed byte': {
      ...layerOf(tar),
      open: () => {
        const copy = Buffer.from(blob);
        copy.writeUInt8(copy.readUInt8(1_000_000) ^ 1, 1_000_000);
        return sourceOf(pieces(copy));
      },
    },
  };
  for (const [what, layer] of Object.entries(bad)) {
    const root = join(scratchDirectory(t), 'root');
    const cache = await openCache(t, root);
    const pull = pullImage({ image: 'i', layers: [good, layer], cache, signal });
    await t.rejects(pull, { code: 'corrupt' }, what);
    await leavesNothing(t, cache, root);
  }
});

t.test('one failing layer ends the download of the others', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const cache = await openCache(t, root);
  let ended = false;
  const slow = layerOf(archive(file('a', randomBytes(200_000))));
  const endless: PullLayer = {
    ...slow,
    open: async function* (signal) {
      try {
        for await (const piece of slow.open(signal)) {
          yield piece;
          break;
        }
        await new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason));
        });
      } finally {
        ended = true;
      }
    },
  };
  const tar = archive(file('b', 'y'));
  const wrong = { ...layerOf(tar), diffId: digestOf(Buffer.from('x')) };
  const pull = pullImage({ image: 'i', layers: [endless, wrong], cache, signal });
  await t.rejects(pull, { code: 'corrupt', message: /diff ID/ });
  await until(() => ended);
  await leavesNothing(t, cache, root);
});

t.test('a pull that is given up ends at once', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const cache = await openCache(t, root);
  const stop = new AbortController();
  const slow = layerOf(archive(file('a', randomBytes(200_000))));
  const layer: PullLayer = {
    ...slow,
    open: async function* (signal) {
      for await (const piece of slow.open(signal)) {
        yield piece;
        break;
      }
      stop.abort();
      await new Promise(() => undefined);
    },
  };
  const pull = pullImage({ image: 'i', layers: [layer], cache, signal: stop.signal });
  await t.rejects(pull, { code: 'canceled' });
  await t.rejects(pullImage({ image: 'i', layers: [layer], cache, signal: stop.signal }), {
    code: 'canceled',
  });
  await leavesNothing(t, cache, root);
});

t.test('an image that has no room says so, and takes none', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const cache = await openCache(t, root, { quotaBytes: 1_000_000 });
  const layer = layerOf(
    archive(...Array.from({ length: 40 }, (_, at) => file(`${at}`, randomBytes(50_000)))),
  );
  const pull = pullImage({ image: 'i', layers: [layer], cache, signal });
  await t.rejects(pull, { code: 'no-space', message: /of 1000000 bytes are in use/ });
  await leavesNothing(t, cache, root);
  const small = layerOf(archive(file('a', randomBytes(300_000))));
  t.match(await pullImage({ image: 'i', layers: [small], cache, signal }), { files: 1 });
});

t.test('files that are here are not written again, and old images make room', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const cache = await openCache(t, root, { quotaBytes: 3_000_000 });
  const shared = randomBytes(900_000);
  const first = layerOf(archive(file('a', shared), file('b', randomBytes(900_000))));
  const second = layerOf(archive(file('a', shared), file('c', randomBytes(1_100_000))));
  const third = layerOf(archive(file('d', randomBytes(1_900_000))));
  await pullImage({ image: 'first', layers: [first], cache, signal });
  await pullImage({ image: 'second', layers: [second], cache, signal });
  t.equal(tierFiles(root).length, 3);
  const pull = pullImage({ image: 'third', layers: [third], cache, signal });
  await t.rejects(pull, { code: 'no-space' }, 'pinned images are not given up');
  await cache.unpinImage('first');
  await cache.unpinImage('second');
  await cache[Symbol.asyncDispose]();
  const again = await FileCache.open(cacheOptions(root, { quotaBytes: 3_000_000 }));
  t.teardown(() => again[Symbol.asyncDispose]());
  await pullImage({ image: 'third', layers: [third], cache: again, signal });
  t.ok((await again.usage()).bytes <= 3_000_000);
});

t.test('memory does not grow with the layer', async (t) => {
  const cache = await openCache(t, join(scratchDirectory(t), 'root'));
  const block = randomBytes(1024 * 1024);
  const count = 150;
  const header = file('big', Buffer.alloc(0), { size: count * block.length });
  const hash = createHash('sha256').update(header);
  for (let at = 0; at < count; at++) hash.update(block);
  const end = Buffer.alloc(1024);
  const digest = `sha256:${hash.update(end).digest('hex')}`;
  let peak = 0;
  const layer: PullLayer = {
    descriptor: {
      mediaType: 'application/vnd.oci.image.layer.v1.tar',
      digest,
      size: header.length + count * block.length + end.length,
    },
    diffId: digest,
    open: async function* () {
      yield header;
      for (let at = 0; at < count; at++) {
        peak = Math.max(peak, process.memoryUsage().arrayBuffers);
        yield Buffer.from(block);
      }
      yield end;
    },
  };
  const before = process.memoryUsage().arrayBuffers;
  const { plainBytes } = await pullImage({ image: 'big', layers: [layer], cache, signal });
  t.ok(plainBytes > 150_000_000);
  t.ok(peak - before < 100_000_000, `${peak - before} bytes`);
});
