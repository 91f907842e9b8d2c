import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ImageFolder, type NewImage } from '../../src/daemon/image-folder.js';
import { digestHex, digestOf, parseDigest } from '../../src/digest.js';

function scratch(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'thinfs-image-folder-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function image(seed: string, references: string[]): NewImage {
  return {
    manifest: digestOf(Buffer.from(seed)),
    kind: 'thin',
    platform: 'linux/amd64',
    references,
    sources: [{ location: 'dir:/nowhere' }],
    fileBytes: 3,
    files: 1,
    lastUsed: 1,
  };
}

const files = {
  config: Buffer.from('{}'),
  metadata: Buffer.from('metadata'),
  descriptor: Buffer.from('descriptor'),
  chunkMap: Buffer.from('chunk map'),
};

t.test('an image is there after a restart, and can be found by its reference', async (t) => {
  const root = scratch(t);
  const first = await ImageFolder.open(root, t.fail);
  await first.add(image('a', ['localhost:5000/a:1']), files);
  const second = await ImageFolder.open(root, t.fail);
  const found = second.find('localhost:5000/a:1', 'linux/amd64');
  t.equal(found?.manifest, digestOf(Buffer.from('a')));
  t.notOk(second.find('localhost:5000/a:1', 'linux/arm64'));
  t.same(await second.read(digestOf(Buffer.from('a')), 'metadata'), files.metadata);
});

t.test('a tag that moved means the new image only', async (t) => {
  const images = await ImageFolder.open(scratch(t), t.fail);
  await images.add(image('old', ['r:1', 'r:old']), files);
  await images.add(image('new', []), files);
  await images.name('r:1', digestOf(Buffer.from('new')));
  t.equal(images.find('r:1', 'linux/amd64')?.manifest, digestOf(Buffer.from('new')));
  t.same(images.get(digestOf(Buffer.from('old')))?.references, ['r:old']);
});

t.test('bytes that changed on disk are not used', async (t) => {
  const root = scratch(t);
  const images = await ImageFolder.open(root, t.fail);
  await images.add(image('a', []), files);
  const manifest = digestOf(Buffer.from('a'));
  writeFileSync(images.path(manifest, 'metadata'), 'Metadata');
  await t.rejects(images.read(manifest, 'metadata'), { code: 'corrupt' });
  rmSync(images.path(manifest, 'chunkMap'));
  await t.rejects(images.read(manifest, 'chunkMap'), { code: 'not-found' });
});

t.test('half-made, broken and newer folders are left out, not fatal', async (t) => {
  const root = scratch(t);
  const digest = digestOf(Buffer.from('x'));
  mkdirSync(join(root, 'images', '.half-made'), { recursive: true });
  mkdirSync(join(root, 'images', digestHex(digest)));
  const newer = join(root, 'images', digestHex(digestOf(Buffer.from('y'))));
  mkdirSync(newer);
  writeFileSync(join(newer, 'image.json'), '{"version": 2}');
  const skipped: string[] = [];
  const images = await ImageFolder.open(root, (error) => skipped.push(error.code));
  t.same(images.list(), []);
  t.equal(skipped.length, 2);
  t.notOk(readdirSync(join(root, 'images')).includes('.half-made'));
  await images.add({ ...image('x', []), manifest: digest }, files);
  t.ok((await ImageFolder.open(root, () => {})).get(parseDigest(digest)));
});

t.test('a removed image is gone', async (t) => {
  const root = scratch(t);
  const images = await ImageFolder.open(root, t.fail);
  await images.add(image('a', ['r:1']), files);
  await images.remove(digestOf(Buffer.from('a')));
  t.same(images.list(), []);
  t.same(readdirSync(join(root, 'images')), []);
  await images.remove(digestOf(Buffer.from('a')));
});

t.test('an image that cannot be brought anew is here as it was', async (t) => {
  const root = scratch(t);
  const images = await ImageFolder.open(root, t.fail);
  await images.add(image('a', ['r:1', 'r:a']), files);
  const manifest = digestOf(Buffer.from('a'));
  const fails = images.replace(manifest, async () => {
    t.notOk(images.get(manifest));
    throw new Error('the registry is down');
  });
  await t.rejects(fails, { message: 'the registry is down' });
  t.same(images.get(manifest)?.references, ['r:1', 'r:a']);
  t.same(await images.read(manifest, 'metadata'), files.metadata);

  await images.replace(manifest, () => images.add(image('b', ['r:1']), files));
  t.same(images.get(manifest)?.references, ['r:a'], 'a name that has moved is not its own');

  writeFileSync(images.path(manifest, 'metadata'), 'Metadata');
  await t.rejects(images.check(manifest), { code: 'corrupt' });
  await images.replace(manifest, () => images.add(image('a', ['r:a']), files));
  await images.check(manifest);
  const hidden = () => readdirSync(join(root, 'images')).filter((name) => name.startsWith('.'));
  t.same(hidden(), []);
  t.equal((await ImageFolder.open(root, t.fail)).list().length, 2);
});
