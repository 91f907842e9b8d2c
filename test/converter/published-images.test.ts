import { join } from 'node:path';
import t from 'tap';
import { publishedImages } from '../../converter/published-images.js';
import { digestOf } from '../../src/digest.js';
import { mediaTypes } from '../../src/image/media-type.js';
import { openWritableStore } from '../../src/store/open-store.js';
import { hotArtifactType } from '../../src/thin/hot-manifest.js';
import { publishThinTag } from '../../src/thin/publish-thin-image.js';
import { testImage } from '../support/images.js';
import { convert, testFolder } from './thinify-runs.js';

const { signal } = new AbortController();

t.test('an image of another store is there once, whatever else its tag lists', async (t) => {
  const { layout } = await testImage('busybox');
  const folder = testFolder(t);
  const image = 'test/image:1';
  const from = `dir:${join(folder, 'store')}`;
  await convert(folder, { image: `oci:${layout}`, name: image, to: from });
  const published = async () => {
    await using found = await publishedImages({ image, from, stores: {}, signal });
    return found.images;
  };
  const [only, ...others] = await published();
  if (!only) throw new Error('nothing is published');
  t.same(others, []);

  await using opened = await openWritableStore(from, {}, signal);
  const { platform, manifest } = only.descriptor.image;
  const hot = { artifactType: hotArtifactType, mediaType: mediaTypes.ociManifest, platform };
  const listed = { ...only.manifest, ...hot };
  const tagged = [{ listed, subject: manifest.digest }];
  await publishThinTag(opened.store, 'docker.io/test/image', '1', tagged, signal);
  t.equal((await opened.store.tagged('docker.io/test/image', '1', signal)).length, 2);
  t.same(
    (await published()).map((one) => one.manifest),
    [only.manifest],
  );
});

t.test('a digest decides in another store too', async (t) => {
  const { layout } = await testImage('busybox');
  const folder = testFolder(t);
  const from = `dir:${join(folder, 'store')}`;
  const { manifests } = await convert(folder, {
    image: `oci:${layout}`,
    name: 'test/image:1',
    to: from,
  });
  const found = async (image: string) => {
    await using published = await publishedImages({ image, from, stores: {}, signal });
    return published.images.map(({ descriptor }) => descriptor.image.manifest.digest);
  };
  t.same(await found(`test/image@${manifests[0]}`), manifests);
  t.same(await found(`test/image:1@${manifests[0]}`), manifests);
  const other = `test/image:1@${digestOf(Buffer.from('another manifest'))}`;
  await t.rejects(found(other), { code: 'not-found' }, 'not what the tag has');
});
