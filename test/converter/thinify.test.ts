import { createHash } from 'node:crypto';
import { createReadStream, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import t, { type Test } from 'tap';
import { decodeFrame } from '../../src/chunk/codec.js';
import { digestOf } from '../../src/digest.js';
import type { LayerEntry, LayerRecord } from '../../src/image/layer-entry.js';
import { hostPlatform } from '../../src/image/platform.js';
import { readLayer } from '../../src/layer/read-layer.js';
import { writeErofs } from '../../src/metadata/erofs-writer.js';
import { mergeLayers } from '../../src/metadata/merge.js';
import { readRange } from '../../src/store/byte-stream.js';
import { openStore } from '../../src/store/open-store.js';
import { findThinImage } from '../../src/thin/find-thin-image.js';
import { loadThinImage } from '../../src/thin/load-thin-image.js';
import { startRegistry } from '../support/docker-registry.js';
import {
  blobPath,
  type LayoutImage,
  layoutTag,
  pushToRegistry,
  testImage,
} from '../support/images.js';
import { blobsOf, convert, copyLayout, runThinify, testFolder } from './thinify-runs.js';

const name = 'test/image:1';
const { signal } = new AbortController();

/** The tree by another way than the converter's: every file hashed here. */
async function readTree(image: LayoutImage): Promise<Buffer> {
  const layers: LayerRecord[] = [];
  for (const { descriptor, diffId } of image.layers) {
    const source = createReadStream(blobPath(image.layout, descriptor.digest));
    const entries: LayerEntry[] = [];
    let hash = createHash('sha256');
    for await (const events of readLayer(source, { signal })) {
      for (const event of events) {
        if (event.type === 'entry' && event.entry.type !== 'file') entries.push(event.entry);
        else if (event.type === 'entry') {
          hash = createHash('sha256');
          entries.push({ ...event.entry, content: digestOf(Buffer.alloc(0)) } as LayerEntry);
        } else if (event.type === 'data') hash.update(event.bytes);
        else if (event.type === 'hole') hash.update(Buffer.alloc(event.length));
        else {
          const last = entries.pop();
          if (last?.type !== 'file') throw new Error('data of no file');
          entries.push({ ...last, content: `sha256:${hash.digest('hex')}` as typeof last.content });
        }
      }
    }
    layers.push({ diffId, entries });
  }
  return writeErofs(mergeLayers(layers));
}

async function published(store: string) {
  const opened = await openStore(`dir:${store}`, {}, signal);
  const wanted = { repository: 'docker.io/test/image', tag: '1', platform: hostPlatform() };
  const found = await findThinImage(opened.store, wanted, signal);
  if (!found) throw new Error('nothing is published');
  const loaded = await loadThinImage(opened.store, found.descriptor, signal);
  return { store: opened.store, found, ...loaded };
}

async function checkFiles(t: Test, store: string): Promise<void> {
  const image = await published(store);
  const sizes = new Map(image.found.descriptor.packs.map(({ digest, size }) => [digest, size]));
  let wrong = 0;
  let files = 0;
  for (const { content } of image.chunkMap.files()) {
    const hash = createHash('sha256');
    for (const { frame, offsetInFrame, length } of image.chunkMap.chunksOf(content) ?? []) {
      const pack = { digest: frame.pack, size: sizes.get(frame.pack) ?? 0 };
      const bytes = await readRange(image.store, pack, frame.offset, frame.length, signal);
      const plain = await decodeFrame(frame, bytes);
      hash.update(plain.subarray(offsetInFrame, offsetInFrame + length));
    }
    files += 1;
    if (`sha256:${hash.digest('hex')}` !== content) wrong += 1;
  }
  t.ok(files > 0, 'there are files');
  t.equal(wrong, 0, 'every file is its content');
}

for (const name of ['busybox', 'torture'] as const) {
  t.test(`${name}: the published tree and files are those of the layers`, async (t) => {
    const image = await testImage(name);
    const folder = testFolder(t);
    const store = join(folder, 'store');
    await convert(folder, {
      image: `oci:${image.layout}:${layoutTag}`,
      name: 'test/image:1',
      to: `dir:${store}`,
    });
    t.ok((await published(store)).metadata.equals(await readTree(image)), 'same metadata');
    await checkFiles(t, store);
  });
}

t.test('the same image gives the same bytes; converting again uploads nothing', async (t) => {
  const { layout } = await testImage('busybox');
  const folder = testFolder(t);
  const stores = ['one', 'two'].map((store) => join(folder, store, 'store'));
  for (const store of stores) {
    const words = { image: `oci:${layout}`, name, to: `dir:${store}` };
    const first = await convert(join(store, '..'), words);
    t.ok(first.bytesUploaded > 0, 'uploaded');
    const again = await convert(join(store, '..'), words);
    t.match(again, {
      alreadyPublished: true,
      bytesUploaded: 0,
      thinManifests: first.thinManifests,
    });
    const forced = await convert(join(store, '..'), { ...words, force: true });
    t.match(forced, {
      alreadyPublished: false,
      bytesUploaded: 0,
      thinManifests: first.thinManifests,
    });
    const elsewhere = await convert(join(store, '..', 'fresh'), { ...words, force: true });
    t.ok(elsewhere.bytesUploaded < first.bytesUploaded / 10, 'the published image is the base');
  }
  const [one, two] = stores.map((store) => blobsOf(store));
  t.same([...(one?.keys() ?? [])], [...(two?.keys() ?? [])], 'the same digests');
});

t.test('what is damaged in the conversion index is converted again', async (t) => {
  const { layout } = await testImage('busybox');
  const folder = testFolder(t);
  const words = { image: `oci:${layout}`, name, to: `dir:${join(folder, 'store')}`, force: true };
  const first = await convert(folder, words);
  const [path] = readdirSync(folder).filter((file) => /^conversions-.*[.]db$/.test(file));
  const database = new Database(join(folder, path ?? ''));
  for (const damage of [
    'UPDATE entries SET bytes = zeroblob(length(bytes))',
    'UPDATE layers SET chunk_map = zeroblob(length(chunk_map))',
  ]) {
    t.ok(database.prepare(damage).run().changes > 0);
    t.match(await convert(folder, words), { thinManifests: first.thinManifests }, damage);
  }
  database.close();
});

t.test('registry: beside the original, and an update uploads what changed', async (t) => {
  const registry = await startRegistry(t);
  const base = await testImage('base');
  const updated = await testImage('base-updated');
  const folder = testFolder(t);
  const reference = `${registry.host}/python:1`;
  await pushToRegistry(base, reference);
  const first = await convert(folder, { image: reference });
  t.match(await convert(folder, { image: reference }), {
    alreadyPublished: true,
    bytesUploaded: 0,
  });
  t.same(first.manifests, [base.manifest.digest]);

  const next = `${registry.host}/python:2`;
  const second = await convert(folder, { image: `oci:${updated.layout}`, name: next });
  t.ok(second.originalBytes > 0, 'the original was pushed');
  t.ok(second.bytesUploaded < first.bytesUploaded / 3, 'only what changed is new');
  t.ok(second.bytesReused > 0);

  const verified = await runThinify(folder, ['verify', next, '-q']);
  t.equal(verified.code, 0, verified.stderr);
  t.match(verified.stdout, /all right/);
});

t.test(
  'a conversion index of which nothing can be read is named: it is safe to delete',
  async (t) => {
    const { layout } = await testImage('busybox');
    const folder = testFolder(t);
    const to = `dir:${join(folder, 'store')}`;
    await convert(folder, { image: `oci:${layout}`, name, to });
    const [index = ''] = readdirSync(folder).filter((file) => file.endsWith('.db'));
    const path = join(folder, index);
    const bytes = readFileSync(path);
    for (const intact of [4096, 0]) {
      writeFileSync(path, bytes.fill(0xaa, intact)); // its first page says what tables there are
      const force = { image: `oci:${layout}`, name, to, force: true };
      await t.rejects(convert(folder, force), {
        ...{ code: 'corrupt', message: /conversion index .*safe to delete/ },
      });
    }
  },
);

t.test('corrupt layers: exit code 6, and nothing is published', async (t) => {
  const { layout, layers } = await testImage('busybox');
  const digest = layers[0]?.descriptor.digest;
  if (!digest) throw new Error('busybox has a layer');
  const damages: [string, (bytes: Buffer) => Buffer][] = [
    ['truncated', (bytes) => bytes.subarray(0, bytes.length / 2)],
    ['flipped', (bytes) => flipped(bytes)],
  ];
  for (const [what, damage] of damages) {
    const copy = copyLayout(t, layout);
    const path = blobPath(copy, digest);
    writeFileSync(path, damage(readFileSync(path)));
    const folder = testFolder(t);
    const store = join(folder, 'store');
    const run = await runThinify(folder, [`oci:${copy}`, '--name', name, '--to', `dir:${store}`]);
    t.equal(run.code, 6, `${what}: ${run.stderr}`);
    t.match(run.stderr, /error: Cannot/);
    await t.rejects(published(store), /nothing is published/);
  }
});

function flipped(bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  const at = copy.length >> 1;
  copy[at] = (copy[at] ?? 0) ^ 1;
  return copy;
}

t.test('verify names what is wrong', async (t) => {
  const { layout } = await testImage('busybox');
  const folder = testFolder(t);
  const store = join(folder, 'store');
  await convert(folder, { image: `oci:${layout}`, name: name, to: `dir:${store}` });
  const good = await runThinify(folder, ['verify', name, '--to', `dir:${store}`]);
  t.equal(good.code, 0, good.stderr);
  const [largest] = [...blobsOf(store)].sort(([, a], [, b]) => b.length - a.length);
  if (!largest) throw new Error('there are blobs');
  const [pack, bytes] = largest;
  writeFileSync(join(store, 'blobs', 'sha256', pack), flipped(bytes));
  const bad = await runThinify(folder, ['verify', name, '--to', `dir:${store}`]);
  t.equal(bad.code, 6);
  t.match(bad.stdout, new RegExp(pack), 'the pack is named');
  t.match(bad.stdout, /\/bin\/busybox|\/usr\/bin\/busybox/, 'and a file');
});

t.test('--base: chunks of an image that this machine did not convert', async (t) => {
  const { layout } = await testImage('busybox');
  const folder = testFolder(t);
  const to = `dir:${join(folder, 'store')}`;
  const image = `oci:${layout}`;
  await convert(join(folder, 'one'), { image, name, to });
  const elsewhere = join(folder, 'two');
  const base = { repository: 'docker.io/test/image', tag: '1' };
  const based = await convert(elsewhere, { image, name: 'test/other:1', to, base });
  t.ok(based.bytesReused > 10 * based.bytesUploaded, 'its chunks are there');
  const missing = { image, name: 'test/third:1', to, base: { ...base, tag: '2' } };
  await t.rejects(convert(elsewhere, missing), { code: 'not-found', message: /Cannot use base/ });
});
