import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { compareTrees, describeDifferences, snapshotTree } from '../support/compare-trees.js';
import { startRegistry } from '../support/docker-registry.js';
import { extractWithTar } from '../support/extract-image.js';
import { pushToRegistry, testImage } from '../support/images.js';
import { runCommand } from '../support/run-command.js';
import { startNode, thinifyProgram } from './test-node.js';

const registry = await startRegistry(t);
// Smaller than what is read of either image: files come and go while they are mounted. The larger
// images are compared by the benchmarks, which take their time.
const node = startNode(t, { THINFS_CACHE_SIZE: '1500k' });
const extracted = join(node.folder, 'extracted');
mkdirSync(extracted);

for (const name of ['busybox', 'torture'] as const) {
  t.test(`${name}: each path of the mount is what GNU tar extracts`, async (t) => {
    const image = await testImage(name);
    const reference = `${registry.host}/${name}:1`;
    const root = join(extracted, name);
    const byTar = extractWithTar(image, root).then(() => snapshotTree(root));
    byTar.catch(() => undefined); // told where it is waited for
    await pushToRegistry(image, reference);
    await runCommand(process.execPath, [thinifyProgram, '-q', reference]);
    const target = join(node.folder, name);
    const mounted = await node.thin(['mount', '--read-only', '-q', reference, target]);
    t.equal(mounted.code, 0, mounted.stderr);
    const [theirs, ours] = await Promise.all([byTar, snapshotTree(target)]);
    const differences = compareTrees(theirs, ours);
    t.equal(differences.length, 0, describeDifferences(differences));
    const [shown] = (await node.status()).images.filter(({ references }) =>
      references.includes(reference),
    );
    t.match(shown, { kind: 'thin', fetched: { failures: 0 } });
    t.ok(shown && shown.fetched.bytes > 0);
    t.equal((await node.thin(['unmount', target])).code, 0);
  });
}

t.test('an image that was pulled in full is the same tree', async (t) => {
  const image = await testImage('torture');
  const reference = `${registry.host}/whole:1`;
  await pushToRegistry(image, reference);
  const small = startNode(t);
  const mounted = await small.thin([
    'mount',
    '--read-only',
    reference,
    join(small.folder, 'whole'),
  ]);
  t.match(mounted.stderr, /whole:1 has no thin form/);
  const trees = [join(extracted, 'torture'), join(small.folder, 'whole')] as const;
  const [theirs, ours] = await Promise.all(trees.map(snapshotTree));
  if (!theirs || !ours) throw new Error('there are two trees');
  const differences = compareTrees(theirs, ours);
  t.equal(differences.length, 0, describeDifferences(differences));
  t.match(await small.status(), { images: [{ kind: 'pulled' }], mounts: [{ target: trees[1] }] });
});

t.test('the cache stays within its size', async (t) => {
  const { cache } = await node.status();
  t.equal(cache.quota, 1500 * 1024);
  t.ok(cache.bytes > cache.quota / 2, `${cache.bytes} bytes`);
  t.ok(cache.bytes <= cache.quota, `${cache.bytes} bytes`);
});
