import { chmod, link, mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { readImage, writeConfig, writeManifest } from '../../scripts/images/image-manifest.js';
import { type LayerCompression, OciLayoutWriter } from '../../scripts/images/oci-layout.js';
import { openTar } from '../../scripts/images/overlay-layer.js';
import { recipes } from '../../scripts/images/recipes.js';
import { compareTrees, describeDifferences, snapshotTree } from './compare-trees.js';
import { extractWithTar, extractWithUmoci } from './extract-image.js';
import { type LayoutImage, testImage } from './images.js';
import { runCommand } from './run-command.js';

/** Fills the folder of one layer. */
type Fill = (folder: string) => Promise<unknown>;

const epoch = 2_000_000_000;

async function lowerLayer(folder: string): Promise<void> {
  for (const name of ['kept', 'removed', 'hidden', 'becomes file']) {
    await mkdir(join(folder, name));
    await writeFile(join(folder, name, 'lower'), `lower ${name}`);
  }
  await symlink('kept', join(folder, 'becomes directory'));
  await writeFile(join(folder, 'file'), 'two names');
  await link(join(folder, 'file'), join(folder, 'name'));
  await writeFile(join(folder, 'capable'), 'program');
  await runCommand('setcap', ['cap_net_raw=ep', join(folder, 'capable')]);
  await runCommand('mknod', [join(folder, 'device'), 'c', '1', '3']);
  await setTimes(folder);
}

async function upperLayer(folder: string): Promise<void> {
  for (const name of ['kept', 'hidden', 'becomes directory']) await mkdir(join(folder, name));
  await chmod(join(folder, 'kept'), 0o1777);
  await writeFile(join(folder, 'kept/upper'), 'upper');
  await writeFile(join(folder, '.wh.removed'), '');
  await writeFile(join(folder, '.wh.name'), '');
  await writeFile(join(folder, 'hidden/.wh..wh..opq'), '');
  await writeFile(join(folder, 'hidden/upper'), 'upper');
  await writeFile(join(folder, 'becomes file'), 'now a file');
  await setTimes(folder);
}

async function setTimes(folder: string): Promise<void> {
  const date = '--date=@1500000000.000000007';
  const touch = ['-exec', 'touch', '--no-dereference', date, '{}', '+'];
  await runCommand('find', [folder, '-depth', ...touch]);
}

async function makeImage(
  work: string,
  fills: readonly Fill[],
  compression: LayerCompression,
): Promise<LayoutImage> {
  const layout = join(work, 'layout');
  await rm(layout, { recursive: true, force: true });
  const writer = await OciLayoutWriter.create(layout);
  const layers = [];
  for (const fill of fills) {
    const folder = join(work, 'layer');
    await mkdir(folder);
    await fill(folder);
    layers.push(await writer.addLayer(await openTar(folder, epoch), compression));
    await rm(folder, { recursive: true });
  }
  await writeManifest(writer, await writeConfig(writer, recipes.busybox, layers), layers);
  return readImage(layout);
}

for (const compression of ['gzip', 'zstd', 'none'] as const) {
  t.test(`umoci and GNU tar agree on layers with ${compression}`, async (t) => {
    const work = t.testdir({});
    const image = await makeImage(work, [lowerLayer, upperLayer], compression);
    const [umoci, tar] = [join(work, 'umoci'), join(work, 'tar')];
    await extractWithUmoci(image, umoci);
    await extractWithTar(image, tar);
    // No layer has an entry for the root: its time is that of the extraction.
    for (const root of [umoci, tar]) await runCommand('touch', ['--date=@0', root]);
    const tree = await snapshotTree(tar);
    t.equal(describeDifferences(compareTrees(await snapshotTree(umoci), tree)), '');
    const shown = [...tree.values()].map(
      ({ path, type, mode }) => `${path} ${type} ${mode.toString(8)}`,
    );
    t.strictSame(shown, [
      ' directory 755',
      'becomes directory directory 755',
      'becomes file file 644',
      'capable file 644',
      'device character 644',
      'file file 644',
      'hidden directory 755',
      'hidden/upper file 644',
      'kept directory 1777',
      'kept/lower file 644',
      'kept/upper file 644',
    ]);
    const times = new Set([...tree.values()].slice(1).map(({ mtime }) => mtime));
    t.strictSame(times, new Set(['1500000000000000007']));
    const capability = [...tree.values()].find(({ path }) => path === 'capable')?.xattrs;
    t.strictSame(Object.keys(capability ?? {}), ['security.capability']);
    t.equal([...tree.values()].find(({ path }) => path === 'file')?.nlink, 1);
  });
}

t.test('they agree on the torture image, but for the time of the root', async (t) => {
  const image = await testImage('torture');
  const work = t.testdir({});
  const [umoci, tar] = [join(work, 'umoci'), join(work, 'tar')];
  await extractWithUmoci(image, umoci);
  await extractWithTar(image, tar);
  const tree = await snapshotTree(tar);
  t.ok(tree.size > 3000);
  const differences = compareTrees(await snapshotTree(umoci), tree);
  const told = differences.map(({ path, what }) => `${path}: ${what}`);
  t.strictSame(told, [': mtime'], describeDifferences(differences));
});
