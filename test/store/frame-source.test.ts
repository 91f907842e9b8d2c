import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import type { Chunk, FileChunks } from '../../src/chunk/frame.js';
import { digestOf } from '../../src/digest.js';
import { frameSource } from '../../src/store/frame-source.js';
import { blobPath } from '../../src/store/object-paths.js';
import { openStore, openWritableStore } from '../../src/store/open-store.js';
import type { Store } from '../../src/store/store.js';
import { startNginx } from '../support/static-http.js';
import { smallContents, smallImage } from '../thin/small-image.js';
import { failsWith, never, putRandom } from './store-suite.js';

t.test('frames come from a real store, decoded, and are counted', async (t) => {
  const { store, image, packSize } = await publishedPack(t.testdir({}));
  const source = frameSource({ stores: [store], packSize, deadlineMs: 0 });
  for (const [index, file] of image.files.slice(0, 3).entries()) {
    const chunk = onlyChunk(file);
    const plain = await source.fetchFrame(chunk.frame, never);
    const bytes = plain.subarray(chunk.offsetInFrame, chunk.offsetInFrame + chunk.length);
    t.ok(bytes.equals(smallContents[index] ?? Buffer.alloc(0)));
    t.equal(digestOf(bytes), chunk.digest);
  }
  const [first, third] = [image.files[0], image.files[2]].map((file) => onlyChunk(file).frame);
  t.strictSame(source.counts(), [
    {
      store: store.toString(),
      requests: 3,
      failures: 0,
      bytes: 2 * (first?.length ?? 0) + (third?.length ?? 0),
      plainBytes: 2 * (first?.plainLength ?? 0) + (third?.plainLength ?? 0),
    },
  ]);
});

t.test('a frame that lies about itself is corrupt', async (t) => {
  const { store, image, packSize } = await publishedPack(t.testdir({}));
  const source = frameSource({ stores: [store], packSize, deadlineMs: 0 });
  const { frame } = onlyChunk(image.files[0]);
  const { plainLength, length, offset } = frame;
  const lies = [
    { plainLength: plainLength + 1 },
    { plainLength: plainLength - 1 },
    { length: length - 1 },
    { offset: offset + 1, length: length - 1 },
    { codec: 'stored' as const },
  ];
  for (const lie of lies) {
    await failsWith(t, 'corrupt', source.fetchFrame({ ...frame, ...lie }, never));
  }
  const elsewhere = { ...frame, offset: image.pack.size };
  await failsWith(t, 'invalid', source.fetchFrame(elsewhere, never));
  const unknown = { ...frame, pack: digestOf(Buffer.from('unknown')) };
  await failsWith(t, 'not-found', source.fetchFrame(unknown, never));
});

t.test('a mirror that has lost a pack is passed over', async (t) => {
  const folder = t.testdir({ near: {}, far: {} });
  const near = await publishedPack(join(folder, 'near'));
  const far = await publishedPack(join(folder, 'far'));
  await rm(join(folder, 'near', blobPath(near.image.pack.digest)));
  const stores = [near.store, far.store];
  const source = frameSource({ stores, packSize: near.packSize, deadlineMs: 0 });
  const { frame } = onlyChunk(near.image.files[0]);
  t.equal((await source.fetchFrame(frame, never)).length, frame.plainLength);
  t.strictSame(
    source.counts().map(({ requests, failures }) => [requests, failures]),
    [
      [1, 1],
      [1, 0],
    ],
  );
});

t.test('a reader waits through an outage of the only server', async (t) => {
  const root = t.testdir({});
  const { image, packSize } = await publishedPack(root);
  const server = await startNginx(t, root);
  await server.stop();
  await using opened = await openStore(server.url, {}, never);
  const source = frameSource({ stores: [opened.store], packSize, deadlineMs: 60_000 });
  const { frame } = onlyChunk(image.files[0]);
  const read = source.fetchFrame(frame, never);
  const again = await startNginx(t, root, server.port);
  t.equal((await read).length, frame.plainLength);
  const [{ requests, failures } = { requests: 0, failures: 0 }] = source.counts();
  t.ok(requests > failures, `${failures} of ${requests} requests have failed`);
  await again.stop();
});

t.test('what is given up is no failure', async (t) => {
  const { store, image, packSize } = await publishedPack(t.testdir({}));
  let asked = (): void => undefined;
  const openRange: Store['openRange'] = async function* (_blob, _offset, _length, signal) {
    asked();
    await once(signal, 'abort');
    signal.throwIfAborted();
    yield Buffer.alloc(0);
  };
  const silent: Store = Object.assign(Object.create(store), { openRange });
  const source = frameSource({ stores: [silent], packSize, deadlineMs: 60_000 });
  const { frame } = onlyChunk(image.files[0]);
  const run = { background: false, onFrame: () => undefined };
  for (const fetch of [
    (signal: AbortSignal) => source.fetchFrame(frame, signal),
    (signal: AbortSignal) => source.fetchRun([frame], signal, run),
  ]) {
    const stop = new AbortController();
    const isAsked = new Promise<void>((resolve) => {
      asked = resolve;
    });
    const given = fetch(stop.signal);
    await isAsked;
    stop.abort();
    await failsWith(t, 'canceled', given);
  }
  t.match(source.counts(), [{ failures: 0 }]);
});

async function publishedPack(root: string) {
  const image = await smallImage('frames');
  const opened = await openWritableStore(`dir:${root}`, {}, never);
  const [pack] = image.packs;
  if (!pack?.open) throw new Error('an image without a pack');
  await opened.store.putBlob(pack, pack.open, never);
  await putRandom(opened.store, 10);
  const sizes = new Map(image.packs.map(({ digest, size }) => [digest, size]));
  return { store: opened.store, image, packSize: sizes.get.bind(sizes) };
}

function onlyChunk(file: FileChunks | undefined): Chunk {
  const [chunk] = file?.chunks ?? [];
  if (!chunk) throw new Error('a file without a chunk');
  return chunk;
}
