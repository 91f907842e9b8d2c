import { join } from 'node:path';
import t from 'tap';
import { digestOf } from '../../src/digest.js';
import { hostPlatform } from '../../src/image/platform.js';
import { openStore } from '../../src/store/open-store.js';
import { findThinImage } from '../../src/thin/find-thin-image.js';
import { loadThinImage } from '../../src/thin/load-thin-image.js';
import { extractWithTar } from '../support/extract-image.js';
import { layoutTag, testImage } from '../support/images.js';
import { runCommand } from '../support/run-command.js';
import { convert, testFolder } from './thinify-runs.js';

const { signal } = new AbortController();

/** Digest of the published tree, with every attribute and the content of every file. */
async function treeOf(store: string): Promise<string> {
  await using opened = await openStore(store, {}, signal);
  const wanted = { repository: 'docker.io/test/image', tag: '1', platform: hostPlatform() };
  const found = await findThinImage(opened.store, wanted, signal);
  if (!found) throw new Error('nothing is published');
  return digestOf((await loadThinImage(opened.store, found.descriptor, signal)).metadata);
}

t.test('an archive of docker save, plain and compressed, has the tree of the image', async (t) => {
  const { layout } = await testImage('busybox');
  const folder = testFolder(t);
  const archive = join(folder, 'image.tar');
  const target = `docker-archive:${archive}:test/image:1`;
  await runCommand('skopeo', [
    '--insecure-policy',
    'copy',
    '-q',
    `oci:${layout}:${layoutTag}`,
    target,
  ]);
  const stores = ['one', 'two', 'three'].map((name) => `dir:${join(folder, name)}`);
  const [one = '', two = '', three = ''] = stores;
  await convert(folder, { image: `oci:${layout}`, name: 'test/image:1', to: one });
  await convert(folder, { image: `docker-archive:${archive}`, to: two });
  t.equal(await treeOf(two), await treeOf(one), 'and its name');
  await runCommand('gzip', [archive]);
  await convert(folder, { image: `docker-archive:${archive}.gz`, to: three });
  t.equal(await treeOf(three), await treeOf(one), 'compressed');
});

for (const name of ['busybox', 'torture'] as const) {
  t.test(`${name}: an extracted image has the tree of the image`, async (t) => {
    const image = await testImage(name);
    const folder = testFolder(t);
    const extracted = join(folder, 'extracted');
    await extractWithTar(image, extracted);
    const [one, two] = [`dir:${join(folder, 'one')}`, `dir:${join(folder, 'two')}`];
    await convert(folder, { image: `oci:${image.layout}`, name: 'test/image:1', to: one });
    const words = { image: `dir:${extracted}`, name: 'test/image:1', to: two };
    const first = await convert(folder, words);
    t.equal(await treeOf(two), await treeOf(one));
    const again = await convert(folder, words);
    t.match(again, { alreadyPublished: true, manifests: first.manifests }, 'the same image again');
  });
}

t.test('a folder, a layout or an archive that is not there', async (t) => {
  const folder = testFolder(t);
  const to = `dir:${join(folder, 'store')}`;
  for (const kind of ['dir', 'oci', 'docker-archive']) {
    const image = `${kind}:${folder}/none`;
    await t.rejects(convert(folder, { image, name: 'test/image:1', to }), { code: 'not-found' });
  }
  await t.rejects(convert(folder, { image: `dir:${folder}`, to }), {
    code: 'invalid',
    message: /--name/,
  });
});
