import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { FileStore } from '../../native-bindings/file-store.js';
import { type Digest, digestBytes, digestHex, digestOf } from '../../src/digest.js';
import { runCommand } from '../support/run-command.js';

/** A tier with its 256 folders, and a place for files on their way. */
function makePlace(root: string) {
  const place = { directory: join(root, 'tier'), incoming: join(root, 'incoming'), others: [] };
  for (let at = 0; at < 256; at++) {
    mkdirSync(join(place.directory, at.toString(16).padStart(2, '0')), { recursive: true });
  }
  mkdirSync(place.incoming);
  return place;
}

function pathOf(directory: string, content: Digest): string {
  const hex = digestHex(content);
  return join(directory, hex.slice(0, 2), hex);
}

function openStore(t: Test) {
  const place = makePlace(t.testdir({}));
  return { ...place, store: new FileStore(place) };
}

t.test('files get the names that their bytes say', async (t) => {
  const { directory, incoming, store } = openStore(t);
  const files = [0, 1, 4096, 4097, 300_000].map((size) => randomBytes(size));
  let offset = 0;
  const spans = files.map((bytes) => {
    const span = { offset, length: bytes.length };
    offset += bytes.length;
    return span;
  });
  const stored = await store.store(Buffer.concat(files), spans);
  t.same(
    stored.map(({ content }) => content),
    files.map((bytes) => digestOf(bytes)),
  );
  t.same(
    stored.map(({ allocated }) => allocated),
    [0, 4096, 4096, 8192, 303_104],
  );
  for (const [at, bytes] of files.entries()) {
    const path = pathOf(directory, digestOf(bytes));
    t.ok(readFileSync(path).equals(bytes));
    t.equal(statSync(path).mode & 0o7777, 0o644);
    t.equal(statSync(path).nlink, 1);
    t.equal(stored[at]?.isNew, true);
  }
  t.same(readdirSync(incoming), [], 'nothing is left on its way');
});

t.test('what is here is not written again, in this tier or in another', async (t) => {
  const root = t.testdir({ fast: {}, slow: {} });
  const [fast, slow] = [makePlace(join(root, 'fast')), makePlace(join(root, 'slow'))];
  const [shared, own] = [randomBytes(5000), randomBytes(6000)];
  const span = (bytes: Buffer) => [{ offset: 0, length: bytes.length }];
  await new FileStore(slow).store(shared, span(shared));
  const store = new FileStore({ ...fast, others: [slow.directory] });
  t.match(await store.store(shared, span(shared)), [{ content: digestOf(shared), isNew: false }]);
  t.match(await store.store(own, span(own)), [{ isNew: true }]);
  const path = pathOf(fast.directory, digestOf(own));
  const before = statSync(path, { bigint: true });
  t.match(await store.store(own, span(own)), [{ isNew: false, allocated: 8192 }]);
  t.match(
    await store.store(own, span(own)),
    [{ isNew: false }],
    'also when it is looked for first',
  );
  const after = statSync(path, { bigint: true });
  t.equal(after.ino, before.ino);
  t.equal(after.ctimeNs, before.ctimeNs);
  const absent = digestOf(randomBytes(1));
  t.same(await store.missing([digestOf(shared), absent, digestOf(own)]), [absent]);
  const spool = store.spool();
  await spool.write(0, shared);
  t.match(await spool.commit(), { content: digestOf(shared), isNew: false });
});

t.test('a large file in pieces, with holes', async (t) => {
  const { directory, incoming, store } = openStore(t);
  const pieces = [randomBytes(3_000_000), randomBytes(17), randomBytes(9_000_000)];
  const holes = [0, 5_000_000, 1];
  const end = 2_000_000;
  const hash = createHash('sha256');
  const spool = store.spool();
  for (const [at, bytes] of pieces.entries()) {
    hash.update(Buffer.alloc(holes[at] ?? 0)).update(bytes);
    await spool.write(holes[at] ?? 0, bytes);
  }
  hash.update(Buffer.alloc(end));
  await spool.write(end, Buffer.alloc(0));
  const stored = await spool.commit();
  t.equal(stored.content, `sha256:${hash.digest('hex')}`);
  const found = statSync(pathOf(directory, stored.content));
  t.equal(found.size, 12_000_017 + 5_000_001 + end);
  // Where its parts lie may take a block of the disk more, once they are written.
  const later = found.blocks * 512 - stored.allocated;
  t.ok(later >= 0 && later <= 8192, `${later} bytes more later`);
  t.ok(stored.allocated < found.size - end, 'holes take no disk');
  t.same(readdirSync(incoming), []);
});

t.test('a hole of more than 4 GiB', async (t) => {
  const { directory, store } = openStore(t);
  const spool = store.spool();
  await spool.write(2 ** 32 + 5, Buffer.from('x'));
  const { content, allocated } = await spool.commit();
  t.equal(statSync(pathOf(directory, content)).size, 2 ** 32 + 6);
  t.ok(allocated <= 65_536);
});

t.test('a spool that is given up leaves nothing', async (t) => {
  const { directory, incoming, store } = openStore(t);
  await store.spool().write(0, randomBytes(100_000));
  t.same(readdirSync(incoming), []);
  t.same(
    readdirSync(directory).filter((name) => readdirSync(join(directory, name)).length > 0),
    [],
  );
});

t.test('many calls at once store the same content once', async (t) => {
  const { directory, store } = openStore(t);
  const bytes = randomBytes(20_000);
  const span = { offset: 0, length: bytes.length };
  const calls = Array.from({ length: 20 }, () => store.store(bytes, [span, span]));
  const stored = (await Promise.all(calls)).flat();
  t.equal(stored.filter(({ isNew }) => isNew).length, 1);
  t.ok(readFileSync(pathOf(directory, digestOf(bytes))).equals(bytes));
});

t.test('a full disk and a wrong call', async (t) => {
  const disk = mkdtempSync(join(tmpdir(), 'thinfs-file-store-'));
  await runCommand('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', disk]);
  t.teardown(async () => {
    await runCommand('umount', ['--lazy', disk]);
    rmdirSync(disk);
  });
  const place = makePlace(disk);
  const store = new FileStore(place);
  const bytes = randomBytes(4_000_000);
  await t.rejects(store.store(bytes, [{ offset: 0, length: bytes.length }]), { code: 'no-space' });
  const spool = store.spool();
  await t.rejects(spool.write(0, bytes), { code: 'no-space' });
  t.same(readdirSync(place.incoming), [], 'nothing is left on its way');
  await t.rejects(store.store(bytes, [{ offset: 3_999_999, length: 2 }]), { code: 'invalid' });
  await t.rejects(store.spool().commit(), { code: 'invalid' });
  await t.rejects(store.spool().write(-1, bytes), { code: 'invalid' });
  t.throws(() => new FileStore({ ...place, directory: join(disk, 'absent') }), {
    code: 'not-found',
  });
});

t.test('files by their digests, each once, and how many are not here', async (t) => {
  const root = t.testdir({ fast: {}, slow: {} });
  const [fast, slow] = [makePlace(join(root, 'fast')), makePlace(join(root, 'slow'))];
  const contents = Array.from({ length: 3000 }, (_, size) => randomBytes(size + 1));
  const digests = contents.map((bytes) => digestBytes(digestOf(bytes)));
  const [first, second] = [randomBytes(1), randomBytes(1)]; // alike but for their last bytes
  const close = [first, second].map((end) => Buffer.concat([Buffer.alloc(31, 7), end]));
  const named = [...digests, ...digests.slice(1000), ...close].map((digest, at) => ({
    digest,
    size: at < 3000 ? at + 1 : at < 5000 ? at - 1999 : 1,
  }));
  const store = new FileStore({ ...fast, others: [slow.directory] });
  const whole = (bytes: Buffer) => [{ offset: 0, length: bytes.length }];
  for (const bytes of contents.slice(0, 100)) await store.store(bytes, whole(bytes));
  const elsewhere = new FileStore(slow);
  for (const bytes of contents.slice(100, 150)) await elsewhere.store(bytes, whole(bytes));

  const found = await store.sorted({
    digests: Buffer.concat(named.map(({ digest }) => digest)),
    sizes: Float64Array.from(named, ({ size }) => size),
  });
  const once = new Map(named.map((file) => [file.digest.toString('hex'), file.size]));
  t.equal(found.missing, once.size - 150);
  t.strictSame(
    Array.from(found.files.sizes, (size, at) => {
      return [found.files.digests.subarray(at * 32, at * 32 + 32).toString('hex'), size];
    }),
    [...once].sort(([one], [other]) => (one < other ? -1 : 1)),
  );
  t.equal(found.files.digests.length, once.size * 32);
  const none = { digests: Buffer.alloc(0), sizes: new Float64Array() };
  t.same(await store.sorted(none), { files: none, missing: 0 });
});
