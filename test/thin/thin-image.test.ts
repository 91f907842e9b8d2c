import t, { type Test } from 'tap';
import { type Digest, digestOf } from '../../src/digest.js';
import { type ErrorCode, isThinError, ThinError } from '../../src/errors.js';
import { mediaTypes } from '../../src/image/media-type.js';
import { redirectEntryHead } from '../../src/metadata/file-xattrs.js';
import { redirectTo } from '../../src/metadata/overlay-xattrs.js';
import { DirectoryObjects } from '../../src/store/directory-objects.js';
import { writableLayoutStore } from '../../src/store/layout-store.js';
import { encodeThinDescriptor } from '../../src/thin/descriptor.js';
import { findThinImage } from '../../src/thin/find-thin-image.js';
import type {
  ListedManifest,
  ThinImageSource,
  ThinImageTarget,
} from '../../src/thin/image-store.js';
import { loadThinImage } from '../../src/thin/load-thin-image.js';
import { publishThinImage, publishThinTag } from '../../src/thin/publish-thin-image.js';
import { thinArtifactType, thinMediaTypes } from '../../src/thin/thin-manifest.js';
import { toWire } from '../../src/thin/wire-blob.js';
import { amd64, bytesFrom, type SmallImage, smallImage } from './small-image.js';

const { signal } = new AbortController();
type TestStore = ThinImageSource & ThinImageTarget;
const storeIn = (t: Test): TestStore => writableLayoutStore(new DirectoryObjects(t.testdir({})));

async function failsWith(t: Test, code: ErrorCode, work: Promise<unknown>, what: string = code) {
  const error = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  t.ok(isThinError(error, code), `${what}: ${error}`);
}

const wantedOf = ({ repository, subject }: SmallImage) => ({
  repository,
  manifest: subject,
  platform: amd64,
});

/** The same store, with each call that writes told before it is made. */
function watched(store: TestStore, tell: (call: string, digest?: Digest) => void): TestStore {
  const open = store.openRange.bind(store);
  return {
    openRange: open,
    readManifest: (...args) => store.readManifest(...args),
    referrers: (...args) => store.referrers(...args),
    async tagged(...args) {
      tell('tagged');
      return await store.tagged(...args);
    },
    async hasBlob(...args) {
      tell('hasBlob', args[0].digest);
      return await store.hasBlob(...args);
    },
    async putBlob(...args) {
      tell('putBlob', args[0].digest);
      await store.putBlob(...args);
      tell('putBlob is done', args[0].digest);
    },
    async putManifest(...args) {
      tell('putManifest', args[0].listed.digest);
      await store.putManifest(...args);
      tell('putManifest is done');
    },
    async putTag(...args) {
      tell('putTag');
      await store.putTag(...args);
    },
  };
}

async function publishWithTag(store: TestStore, image: SmallImage): Promise<ListedManifest> {
  const published = await publishThinImage(store, image, signal);
  await publishThinTag(store, image.repository, 'v1', [published], signal);
  return published.listed;
}

t.test('packs come first, and what makes them findable comes last', async (t) => {
  const store = storeIn(t);
  const image = await smallImage('order');
  const puts: (Digest | undefined)[] = [];
  const listed = await publishWithTag(
    watched(store, (call, digest) => /^put[A-Z][a-z]+$/.test(call) && puts.push(digest)),
    image,
  );
  const found = await findThinImage(store, wantedOf(image), signal);
  if (!found) throw new Error('it is not found');
  const { descriptor, descriptorBytes } = found;
  t.strictSame(puts, [
    image.pack.digest,
    descriptor.metadata.digest,
    descriptor.chunkMap.digest,
    digestOf(descriptorBytes),
    listed.digest,
    undefined,
  ]);
});

t.test('whatever call a publisher dies at, an image is whole or not there', async (t) => {
  let calls = Number.POSITIVE_INFINITY;
  for (let point = 1; point <= calls; point++) {
    const store = storeIn(t);
    const image = await smallImage(`crash ${point}`);
    let count = 0;
    const dying = watched(store, () => {
      count += 1;
      if (count === point) throw new ThinError('unavailable', 'killed here');
    });
    const published = await publishWithTag(dying, image).catch((error: unknown) => error);
    if (!(published instanceof Error)) calls = count;
    for (const by of [wantedOf(image), { ...wantedOf(image), manifest: undefined, tag: 'v1' }]) {
      const found = await findThinImage(store, by, signal);
      if (found) await loadThinImage(store, found.descriptor, signal);
      if (found) t.ok(await store.hasBlob(image.pack, signal), `point ${point}: its pack is there`);
    }
    const again = await publishThinImage(store, image, signal);
    t.ok(await findThinImage(store, wantedOf(image), signal), `point ${point}: and again`);
    t.ok(again.newBytes < 5000);
  }
  t.ok(calls > 10, `${calls} points`);
});

t.test('two publishers of one image', async (t) => {
  const store = storeIn(t);
  const image = await smallImage('twice');
  const both = await Promise.all([publishWithTag(store, image), publishWithTag(store, image)]);
  t.strictSame(both[0], both[1]);
  const found = await findThinImage(store, wantedOf(image), signal);
  t.equal(found?.manifest.digest, both[0].digest);
});

t.test('publishing refuses parts that do not belong together', async (t) => {
  const store = watched(storeIn(t), (call) => t.fail(`${call} before it is known to be right`));
  const image = await smallImage('refused');
  const other = await smallImage('other');
  const refuses = (code: ErrorCode, over: Partial<SmallImage>, what: string) =>
    failsWith(t, code, publishThinImage(store, { ...image, ...over }, signal), what);
  await refuses('invalid', { packs: [] }, 'a chunk map of a pack that is not given');
  await refuses('corrupt', { config: other.config }, 'the config of another image');
  await refuses('corrupt', { chunkMap: image.metadata }, 'no chunk map');
});

t.test('a pack of another image must be there', async (t) => {
  const image = await smallImage('borrowed');
  const packs = image.packs.map(({ digest, size }) => ({ digest, size }));
  const store = storeIn(t);
  await failsWith(t, 'not-found', publishThinImage(store, { ...image, packs }, signal));
  await store.putBlob(image.pack, bytesFrom(image.pack.bytes), signal);
  const { newBytes } = await publishThinImage(store, { ...image, packs }, signal);
  t.ok(newBytes > 0 && newBytes < 5000);
});

t.test('a pack is taken over from another repository where that is possible', async (t) => {
  const image = await smallImage('mounted');
  const packs = image.packs.map((pack) => ({ ...pack, mountFrom: 'team/base' }));
  const store = storeIn(t);
  const asked: unknown[] = [];
  const mounting: TestStore = {
    ...watched(store, () => {}),
    async mountBlob(blob, from) {
      asked.push([blob, from]);
      await store.putBlob(blob, bytesFrom(image.pack.bytes), signal);
      return true;
    },
  };
  const { newBytes } = await publishThinImage(mounting, { ...image, packs }, signal);
  t.strictSame(asked, [[{ digest: image.pack.digest, size: image.pack.size }, 'team/base']]);
  t.ok(newBytes < 5000);
});

t.test('a thin manifest in the same index is found without asking', async (t) => {
  const store = storeIn(t);
  const image = await smallImage('sibling');
  const { listed } = await publishThinImage(store, image, signal);
  const unasked: ThinImageSource = {
    ...watched(store, () => {}),
    referrers: () => Promise.reject(new Error('nobody should ask')),
  };
  const original = { mediaType: mediaTypes.ociManifest, digest: image.subject, size: 1 };
  const siblings = [{ ...original, platform: amd64 }, { ...listed }];
  const found = await findThinImage(unasked, { ...wantedOf(image), siblings }, signal);
  t.equal(found?.manifest.digest, listed.digest);
});

t.test('a tag that has moved since is not believed', async (t) => {
  const store = storeIn(t);
  const old = await smallImage('old');
  await publishWithTag(store, old);
  const moved = await smallImage('new');
  const wanted = { ...wantedOf(moved), tag: 'v1' };
  t.equal(await findThinImage(store, wanted, signal), undefined);
  const arm = { os: 'linux', architecture: 'arm64' };
  const other = { repository: old.repository, tag: 'v1', platform: arm };
  t.equal(await findThinImage(store, other, signal), undefined, 'nor another platform');
});

/** Publishes by hand what a manifest of `image` must not be; every part has its right digest. */
async function publishLie(
  store: TestStore,
  image: SmallImage,
  lie: { descriptor?: Buffer; manifest?: (honest: object) => object },
): Promise<void> {
  const [metadata, chunkMap] = await Promise.all([toWire(image.metadata), toWire(image.chunkMap)]);
  const honest = encodeThinDescriptor({
    ...image,
    metadata: metadata.blob,
    chunkMap: chunkMap.blob,
  });
  const descriptor = lie.descriptor ?? honest;
  for (const bytes of [descriptor, metadata.bytes, chunkMap.bytes]) {
    const blob = { digest: digestOf(bytes), size: bytes.length };
    await store.putBlob(blob, bytesFrom(bytes), signal);
  }
  const entry = (mediaType: string, { digest, size }: { digest: Digest; size: number }) => ({
    mediaType,
    digest,
    size,
  });
  const right = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    artifactType: thinArtifactType,
    config: entry(thinMediaTypes.descriptor, {
      digest: digestOf(descriptor),
      size: descriptor.length,
    }),
    layers: [
      entry(thinMediaTypes.metadata, metadata.blob),
      entry(thinMediaTypes.chunkMap, chunkMap.blob),
      entry(thinMediaTypes.pack, image.pack),
    ],
    subject: entry(mediaTypes.ociManifest, {
      digest: image.subject,
      size: image.manifest.bytes.length,
    }),
  };
  const bytes = Buffer.from(JSON.stringify(lie.manifest?.(right) ?? right));
  const listed = {
    mediaType: mediaTypes.ociManifest,
    digest: digestOf(bytes),
    size: bytes.length,
    artifactType: thinArtifactType,
    platform: amd64,
  };
  const { repository, subject } = image;
  await store.putManifest({ repository, subject, listed, bytes }, signal);
}

t.test('lies are seen through', async (t) => {
  const image = await smallImage('honest');
  const other = await smallImage('another image');
  const otherStore = storeIn(t);
  await publishThinImage(otherStore, other, signal);
  const foreign = await findThinImage(otherStore, wantedOf(other), signal);
  if (!foreign) throw new Error('it is not found');
  const lies: Record<string, Parameters<typeof publishLie>[2]> = {
    'the descriptor of another image': { descriptor: foreign.descriptorBytes },
    'no descriptor': { descriptor: Buffer.from('{}') },
    'no artifact type': { manifest: (right) => ({ ...right, artifactType: undefined }) },
    'no subject': { manifest: (right) => ({ ...right, subject: undefined }) },
    'no layers': { manifest: (right) => ({ ...right, layers: [] }) },
    'another config': { manifest: (right) => ({ ...right, config: sized(image.pack, 'x/y') }) },
    'a descriptor too large': {
      manifest: (right) => ({
        ...right,
        config: sized({ ...image.pack, size: 2 ** 40 }, thinMediaTypes.descriptor),
      }),
    },
  };
  for (const [what, lie] of Object.entries(lies)) {
    const store = storeIn(t);
    await publishLie(store, image, lie);
    await failsWith(t, 'corrupt', findThinImage(store, wantedOf(image), signal), what);
  }
  const store = storeIn(t);
  await publishLie(store, image, {});
  t.ok(await findThinImage(store, wantedOf(image), signal), 'without the lie it is found');
});

function sized({ digest, size }: { digest: Digest; size: number }, mediaType: string) {
  return { mediaType, digest, size };
}

t.test('an outage is no reason to say that there is none', async (t) => {
  const image = await smallImage('outage');
  const store = storeIn(t);
  await publishThinImage(store, image, signal);
  const down: ThinImageSource = {
    ...watched(store, () => {}),
    referrers: () => Promise.reject(new ThinError('unavailable', 'down')),
  };
  await failsWith(t, 'unavailable', findThinImage(down, wantedOf(image), signal));
});

t.test('a list that cannot be read does not hide what the tag has', async (t) => {
  const image = await smallImage('unreadable');
  const store = storeIn(t);
  const unreadable: ThinImageSource = {
    ...watched(store, () => {}),
    referrers: () => Promise.reject(new ThinError('corrupt', 'Cannot read index')),
  };
  const wanted = { ...wantedOf(image), tag: 'v1' };
  await failsWith(t, 'corrupt', findThinImage(unreadable, wanted, signal));
  await publishWithTag(store, image);
  t.ok(await findThinImage(unreadable, wanted, signal));
});

t.test('digests that the chunk map has are not in the metadata on the line', async (t) => {
  const image = await smallImage('bare');
  const redirects = image.files.flatMap(({ content }) => [
    redirectEntryHead,
    Buffer.from(redirectTo(content)),
  ]);
  const metadata = Buffer.concat([image.metadata, ...redirects]);
  const store = storeIn(t);
  await publishThinImage(store, { ...image, metadata }, signal);
  const found = await findThinImage(store, wantedOf(image), signal);
  if (!found) throw new Error('it is not found');
  const { descriptor } = found;
  t.equal(descriptor.version, 2);
  t.equal(descriptor.metadata.bareSize, metadata.length + 4 * image.files.length);
  t.ok((await loadThinImage(store, descriptor, signal)).metadata.equals(metadata));
  const wrong = { ...descriptor.metadata, plainDigest: descriptor.chunkMap.plainDigest };
  const lie = { ...descriptor, metadata: wrong };
  await failsWith(t, 'corrupt', loadThinImage(store, lie, signal), 'another plain digest');
});

t.test('metadata and chunk map that are not what the descriptor says', async (t) => {
  const image = await smallImage('swapped');
  const store = storeIn(t);
  await publishThinImage(store, image, signal);
  const found = await findThinImage(store, wantedOf(image), signal);
  if (!found) throw new Error('it is not found');
  const { descriptor } = found;
  const { metadata, chunkMap } = descriptor;
  const swapped = { ...metadata, plainDigest: chunkMap.plainDigest };
  const lies = {
    'another plain digest': { ...descriptor, metadata: swapped },
    'another plain size': { ...descriptor, metadata: { ...metadata, plainSize: 5 } },
    'another size': { ...descriptor, metadata: { ...metadata, size: metadata.size - 1 } },
    'metadata for a chunk map': { ...descriptor, chunkMap: metadata },
    'a chunk map of packs that are not named': { ...descriptor, packs: [] },
  };
  for (const [what, lie] of Object.entries(lies)) {
    await failsWith(t, 'corrupt', loadThinImage(store, lie, signal), what);
  }
  await loadThinImage(store, descriptor, signal);
});
