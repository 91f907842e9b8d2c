import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
} from 'node:fs';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { createGzip, gzipSync } from 'node:zlib';
import t, { type Test } from 'tap';
import { LayerRecordFile } from '../../src/cache/layer-record.js';
import type { PackedFile } from '../../src/cache/packed-files.js';
import { type Digest, digestHex, digestOf } from '../../src/digest.js';
import { mergeLayers } from '../../src/metadata/merge.js';
import type { Room } from '../../src/pull/layer-files.js';
import { findLayer, storeLayer } from '../../src/pull/store-layer.js';
import { scratchDirectory } from '../cache/cache-rig.js';
import { pathsOf, seenAs } from '../layer/check-tree.js';
import { readRecord } from '../layer/read-records.js';
import { tortureLayers } from '../layer/torture-layers.js';
import { archive, bytes, directory, file, hardlink, padded, pax } from '../support/tar-builder.js';
import { gzipLayer, piecesOf } from './pull-rig.js';

const plenty: Room = { take: async () => true, takeExactly: async () => undefined };
/** Of longer files only the size is looked at. */
const readBytesMax = 64 * 1024 * 1024;

/** A tier without a cache, and layers stored into it on this thread. */
class Tier {
  readonly place: { directory: string; incoming: string; others: string[] };
  readonly records: string;
  readonly stored: PackedFile[] = [];
  #count = 0;

  constructor(t: Test) {
    const folder = scratchDirectory(t);
    this.place = { directory: join(folder, 'tier'), incoming: join(folder, 'in'), others: [] };
    this.records = join(folder, 'records');
    for (let at = 0; at < 256; at++) {
      const name = at.toString(16).padStart(2, '0');
      mkdirSync(join(this.place.directory, name), { recursive: true });
    }
    mkdirSync(this.place.incoming);
    mkdirSync(this.records);
  }

  async store(blob: Buffer, diffId: string, room = plenty): Promise<string> {
    const record = join(this.records, `${++this.#count}`);
    const job = {
      mediaType: gzipLayer,
      digest: digestOf(blob),
      size: blob.length,
      diffId,
      place: this.place,
      recordDraft: `${record}.draft`,
      record,
      storesInFlight: 2,
    };
    await storeLayer(job, piecesOf(blob), room, {
      stored: (files) => this.stored.push(...files),
      inflated: () => undefined,
    });
    return record;
  }

  pathOf(content: Digest): string {
    const hex = digestHex(content);
    return join(this.place.directory, hex.slice(0, 2), hex);
  }

  read(content: Digest): Buffer {
    return readFileSync(this.pathOf(content));
  }

  get files(): string[] {
    return readdirSync(this.place.directory).flatMap((name) =>
      readdirSync(join(this.place.directory, name)),
    );
  }
}

for (const { rule, name, layers, expected } of tortureLayers()) {
  t.test(`${rule} ${name}`, async (t) => {
    const tier = new Tier(t);
    const merged = async () => {
      const records: LayerRecordFile[] = [];
      for (const blob of layers) {
        const read = await readRecord([blob], new Map()).catch(() => undefined);
        const path = await tier.store(blob, read?.diffId ?? digestOf(blob));
        records.push(LayerRecordFile.open(path));
      }
      return mergeLayers(
        records.map(({ summary, entries }) => ({ diffId: summary.diffId, entries })),
      );
    };
    if (expected instanceof RegExp) {
      await t.rejects(merged(), { code: 'corrupt' });
      const drafts = readdirSync(tier.records).filter((record) => record.includes('draft'));
      t.same(drafts, [], 'no record is half written');
      return;
    }
    const root = await merged();
    const contents = new Map<Digest, Buffer>();
    for (const node of pathsOf(root).values()) {
      if (node.type !== 'file') continue;
      const kept = node.size > 0 && node.size < readBytesMax;
      contents.set(node.content, kept ? tier.read(node.content) : Buffer.alloc(0));
    }
    t.strictSame(seenAs(expected, root, contents), expected);
  });
}

const sizes = [0, 1, 511, 512, 70_000, 524_288, 1024 * 1024, 1024 * 1024 + 1, 5_000_000];

t.test('files of all sizes, whole in a piece, in several and in many', async (t) => {
  const tier = new Tier(t);
  const contents = sizes.map((size) => randomBytes(size));
  const twice = randomBytes(2_000_000);
  const tar = archive(
    directory('d/'),
    ...contents.map((bytes, at) => file(`d/${at}`, bytes)),
    file('d/twice', twice),
    file('d/again', twice),
    hardlink('d/link', 'd/3'),
  );
  const record = LayerRecordFile.open(await tier.store(gzipSync(tar), digestOf(tar)));
  t.equal(record.summary.plainBytes, tar.length);
  const entries = [...record.entries];
  t.same(
    entries.map(({ path }) => path),
    ['d', ...sizes.map((_, at) => `d/${at}`), 'd/twice', 'd/again', 'd/link'],
    'in the order of the archive',
  );
  for (const [at, bytes] of contents.entries()) {
    const entry = entries[at + 1];
    if (entry?.type !== 'file') throw new Error(`no file d/${at}`);
    t.equal(entry.content, digestOf(bytes));
    if (bytes.length > 0) t.ok(tier.read(entry.content).equals(bytes));
  }
  t.equal(tier.files.length, sizes.length, 'each content once, the empty one not at all');
  t.equal(tier.stored.filter(({ allocated }) => allocated === undefined).length, 1, 'd/again');
});

t.test('an archive that is not compressed', async (t) => {
  const tier = new Tier(t);
  const contents = Array.from({ length: 200 }, () => randomBytes(9000));
  const tar = archive(...contents.map((bytes, at) => file(`${at}`, bytes)));
  await tier.store(tar, digestOf(tar));
  for (const bytes of contents) t.ok(tier.read(digestOf(bytes)).equals(bytes));
});

t.test('where room is scarce, only what is not here asks for it', async (t) => {
  const tier = new Tier(t);
  const [shared, own, large] = [randomBytes(5000), randomBytes(9000), randomBytes(1_500_000)];
  const first = archive(file('a', shared));
  await tier.store(gzipSync(first), digestOf(first));
  let asked = 0;
  const scarce: Room = {
    take: async () => false,
    takeExactly: async (bytes) => {
      asked += bytes;
    },
  };
  const tar = archive(file('a', shared), file('b', own), file('c', large));
  await tier.store(gzipSync(tar), digestOf(tar), scarce);
  const needed = 12_288 + 1_500_000;
  t.ok(asked >= needed && asked < needed + 8192 + 10 * 4096, `${asked} bytes: nothing for a`);
});

t.test('a layer that ends for want of room leaves no record', async (t) => {
  const tier = new Tier(t);
  const tar = archive(file('a', randomBytes(2_000_000)), file('b', 'b'));
  const full: Room = {
    take: async () => false,
    takeExactly: () => Promise.reject(new Error('no room')),
  };
  await t.rejects(tier.store(gzipSync(tar), digestOf(tar), full), /no room/);
  t.same(readdirSync(tier.records), []);
  t.same(readdirSync(tier.place.incoming), []);
});

t.test('a record stands for its layer while all files are here', async (t) => {
  const tier = new Tier(t);
  const contents = [randomBytes(100), randomBytes(2_000_000)];
  const tar = archive(...contents.map((bytes, at) => file(`${at}`, bytes)), file('e', ''));
  const record = await tier.store(gzipSync(tar), digestOf(tar));
  const found: PackedFile[] = [];
  const summary = await findLayer(record, tier.place, (files) => found.push(...files));
  t.equal(summary.diffId, digestOf(tar));
  t.same(
    new Set(found.map(({ content }) => content)),
    new Set(contents.map((bytes) => digestOf(bytes))),
  );
  const ignore = () => undefined;
  await t.rejects(findLayer(`${record}-absent`, tier.place, ignore), { code: 'not-found' });
  await t.rejects(findLayer(record, new Tier(t).place, ignore), {
    code: 'not-found',
    message: /2 files are gone/,
  });
});

t.test('one file of more than 4 GiB', async (t) => {
  const tier = new Tier(t);
  const hole = 2 ** 32;
  const end = randomBytes(1000);
  const map = `1\n${hole}\n${end.length}\n`;
  const records = {
    'GNU.sparse.major': '1',
    'GNU.sparse.minor': '0',
    'GNU.sparse.name': 'large',
    'GNU.sparse.realsize': `${hole + end.length}`,
  };
  const stored = Buffer.concat([padded(bytes(map)), end]);
  const tar = archive(pax(records), file('GNUSparseFile.0/large', stored), file('after', 'x'));
  const path = await tier.store(gzipSync(tar), digestOf(tar));
  const [large, after] = LayerRecordFile.open(path).entries;
  if (large?.type !== 'file' || after?.type !== 'file') throw new Error('no files');
  t.equal(large.size, hole + end.length);
  const fd = openSync(tier.pathOf(large.content), 'r');
  t.teardown(() => closeSync(fd));
  t.equal(fstatSync(fd).size, large.size);
  t.ok(fstatSync(fd).blocks * 512 < 1_000_000, 'its hole takes no disk');
  const read = Buffer.alloc(end.length + 1);
  t.equal(readSync(fd, read, 0, read.length, hole - 1), read.length);
  t.ok(read.equals(Buffer.concat([Buffer.alloc(1), end])));
  t.equal(tier.read(after.content).toString(), 'x');
});

t.test('a layer of 200 000 files', async (t) => {
  const tier = new Tier(t);
  const count = 200_000;
  const blob = createGzip({ level: 1 });
  const hash = createHash('sha256');
  const packed = buffer(blob);
  for (let at = 0; at < count; at += 1000) {
    const some = Array.from({ length: 1000 }, (_, index) =>
      file(`f/${at + index}`, `${at + index}`),
    );
    const piece = Buffer.concat(some);
    hash.update(piece);
    if (!blob.write(piece)) await once(blob, 'drain');
  }
  const tail = Buffer.alloc(1024);
  blob.end(tail);
  const path = await tier.store(await packed, `sha256:${hash.update(tail).digest('hex')}`);
  t.equal(tier.files.length, count);
  const entries = LayerRecordFile.open(path).entries;
  let at = 0;
  let wrong = 0;
  for (const entry of entries) {
    const right = entry.type === 'file' && entry.content === digestOf(Buffer.from(`${at}`));
    if (!right || entry.path !== `f/${at}`) wrong += 1;
    at += 1;
  }
  t.same([at, wrong], [count, 0]);
});
