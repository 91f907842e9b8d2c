import { randomBytes } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import t from 'tap';
import { digestHex, digestOf } from '../../src/digest.js';
import { ImagePuller } from '../../src/pull/image-puller.js';
import { RecordsMerge, type ToMerge } from '../../src/pull/merge-records.js';
import type { PullWorkers } from '../../src/pull/pull-workers.js';
import { openCache, scratchDirectory, signal, until } from '../cache/cache-rig.js';
import { archive, file } from '../support/tar-builder.js';
import { inlineWorkers, layerOf, piecesOf, pullAndPin, treeOf } from './pull-rig.js';

/** The usual workers, and what they are told to merge. */
function watched(): { readonly workers: PullWorkers; readonly told: ToMerge[] } {
  const told: ToMerge[] = [];
  const startMerge: PullWorkers['startMerge'] = (request) => {
    const worker = inlineWorkers.startMerge(request);
    const post = (message: ToMerge) => {
      told.push(message);
      worker.post(message);
    };
    return { ...worker, post };
  };
  return { workers: { ...inlineWorkers, startMerge }, told };
}

t.test('layers are merged lowest first, in whatever order they come', async (t) => {
  const told: ToMerge[] = [];
  const worker = { post: (message: ToMerge) => told.push(message), terminate: async () => {} };
  const digest = digestOf(Buffer.alloc(0));
  const files = { digests: new Uint8Array(), sizes: new Float64Array() };
  const reply = Promise.resolve({ digest, files, missing: 7, plainBytes: 0 });
  const workers = { ...inlineWorkers, startMerge: () => ({ ...worker, reply }) };
  const place = { directory: '', incoming: '', others: [] };
  await using merge = new RecordsMerge({ layers: 3, place, metadata: '' }, workers);
  const named = () => told.map((message) => ('layer' in message ? message.layer.record : 'finish'));
  merge.brought(2, { record: 'c', diffId: '' });
  merge.begin();
  t.same(named(), []);
  merge.brought(0, { record: 'a', diffId: '' });
  t.same(named(), ['a']);
  merge.brought(1, { record: 'b', diffId: '' });
  t.same(named(), ['a', 'b', 'c']);
  t.equal((await merge.finish(signal)).missing, 7);
  t.same(named(), ['a', 'b', 'c', 'finish']);
});

t.test('what is here is merged while the last layer is on its way', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  const { workers, told } = watched();
  const puller = await ImagePuller.open(await openCache(t, root), root, { workers });
  const lower = layerOf(archive(file('a', randomBytes(300_000)), file('b', 'lower')));
  const upper = layerOf(archive(file('b', 'upper'), file('.wh.a', '')), {
    serve: async function* (blob) {
      await until(() => told.length > 0);
      yield* piecesOf(blob);
    },
  });
  const pulled = await pullAndPin(puller, { image: 'i', layers: [lower, upper], signal });
  t.same([...treeOf(pulled).children.keys()], ['b']);
  const records = told.map((message) =>
    'layer' in message ? basename(message.layer.record) : 'end',
  );
  t.same(records, [hexOf(lower.diffId), hexOf(upper.diffId), 'end']);
  t.same(readdirSync(join(root, 'layers')).sort(), records.slice(0, 2).sort(), 'and no draft');
});

t.test('an image can be used while the thread that merged it ends', async (t) => {
  const root = join(scratchDirectory(t), 'root');
  let asked = false;
  let gone = () => {};
  const end = new Promise<void>((resolve) => {
    gone = resolve;
  });
  const startMerge: PullWorkers['startMerge'] = (request) => ({
    ...inlineWorkers.startMerge(request),
    terminate: () => {
      asked = true;
      return end;
    },
  });
  const workers = { ...inlineWorkers, startMerge };
  const puller = await ImagePuller.open(await openCache(t, root), root, { workers });
  const layers = [layerOf(archive(file('a', 'content')))];
  const pulled = await puller.pull({ image: 'i', layers, signal });
  t.ok(asked, 'it is told to end');
  t.equal(pulled.files, 1);
  let isDisposed = false;
  const disposed = pulled[Symbol.asyncDispose]().then(() => {
    isDisposed = true;
  });
  await pulled.pin(pulled.metadata.path);
  t.notOk(isDisposed, 'and is waited for before what it wrote is removed');
  gone();
  await disposed;
  t.throws(() => statSync(pulled.metadata.path), { code: 'ENOENT' });
});

function hexOf(diffId: string): string {
  return digestHex(diffId as Parameters<typeof digestHex>[0]);
}
