import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { pseudoRandomBytes } from '../native-bindings/pseudo-random.js';
import { startRegistry } from '../support/docker-registry.js';
import { layoutTag, testImage } from '../support/images.js';
import { convert, runThinify, testFolder } from './thinify-runs.js';

async function checkVerified(t: Test, folder: string, reference: string): Promise<void> {
  const { code, stdout, stderr } = await runThinify(folder, ['verify', reference, '-q']);
  t.equal(code, 0, stderr);
  t.match(stdout, /all right/);
}

t.test(
  'the layers of an image in another repository are taken over with their packs',
  async (t) => {
    const { host } = await startRegistry(t);
    const { layout } = await testImage('nginx');
    const image = `oci:${layout}:${layoutTag}`;
    const folder = testFolder(t);
    const first = await convert(folder, { image, name: `${host}/one:1` });
    const second = await convert(folder, { image, name: `${host}/deep/two:1` });
    t.same(second.thinManifests, first.thinManifests, 'the same thin image');
    t.notOk(second.alreadyPublished);
    t.equal(second.bytesReused, first.publishedBytes, 'every frame is of a pack that was there');
    t.ok(second.bytesUploaded < first.bytesUploaded - first.publishedBytes + 1, 'no pack was sent');
    await checkVerified(t, folder, `${host}/deep/two:1`);
  },
);

t.test('another image refers to the chunks of other repositories', async (t) => {
  const { host } = await startRegistry(t);
  const folder = testFolder(t);
  const root = join(folder, 'root');
  mkdirSync(root);
  for (let i = 0; i < 20; i++) writeFileSync(join(root, `${i}`), pseudoRandomBytes(50_000, i));
  const first = await convert(folder, { image: `dir:${root}`, name: `${host}/one:1` });
  t.ok(first.bytesUploaded > 1_000_000);
  writeFileSync(join(root, '7'), pseudoRandomBytes(50_000, 100));
  const second = await convert(folder, { image: `dir:${root}`, name: `${host}/two:1` });
  t.ok(second.bytesUploaded < 100_000, `${second.bytesUploaded} bytes for a file of 50000`);
  t.ok(second.bytesReused >= 19 * 50_000);
  await checkVerified(t, folder, `${host}/two:1`);
});

t.test('where the registry does not take packs over, they are made again', async (t) => {
  const { host, root } = await startRegistry(t);
  const { layout } = await testImage('busybox');
  const folder = testFolder(t);
  const image = `oci:${layout}`;
  const first = await convert(folder, { image, name: `${host}/one:1` });
  rmSync(join(root, 'docker/registry/v2/repositories/one/_layers'), { recursive: true });
  const second = await convert(folder, { image, name: `${host}/two:1` });
  t.equal(second.bytesUploaded, first.bytesUploaded);
  t.equal(second.bytesReused, 0);
  t.same(second.thinManifests, first.thinManifests);
  await checkVerified(t, folder, `${host}/two:1`);
});
