import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import t, { type Test } from 'tap';
import { layoutTag, writeManifest } from '../../scripts/images/image-manifest.js';
import { type LayerBlob, OciLayoutWriter } from '../../scripts/images/oci-layout.js';
import type { Digest } from '../../src/digest.js';
import { mergeLayers } from '../../src/metadata/merge.js';
import {
  compareTrees,
  describeDifferences,
  snapshotTree,
  type TreeSnapshot,
} from '../support/compare-trees.js';
import { runCommand } from '../support/run-command.js';
import { readRecord } from './read-records.js';
import { type TortureCase, tortureLayers } from './torture-layers.js';
import { snapshotOfTree } from './tree-snapshot.js';

/** umoci reads the media type, and knows no zstd: it gets what is a plain archive. */
function isPlain(layer: Buffer): boolean {
  return !['1f8b', '28b5', '572a'].includes(layer.toString('hex', 0, 2));
}

const comparable = tortureLayers().filter(
  ({ expected, umociDiffers, layers }) =>
    !(expected instanceof RegExp) && umociDiffers === undefined && layers.every(isPlain),
);

async function unpackWithUmoci(layers: readonly Buffer[], folder: string): Promise<TreeSnapshot> {
  const writer = await OciLayoutWriter.create(join(folder, 'layout'));
  const blobs: LayerBlob[] = [];
  for (const layer of layers) blobs.push(await writer.addLayer(Readable.from([layer]), 'none'));
  const config = await writer.addJson('application/vnd.oci.image.config.v1+json', {
    architecture: 'amd64',
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: blobs.map(({ diffId }) => diffId) },
  });
  await writeManifest(writer, config, blobs);
  const image = `${join(folder, 'layout')}:${layoutTag}`;
  await runCommand('umoci', ['raw', 'unpack', '--image', image, join(folder, 'root')]);
  return snapshotTree(join(folder, 'root'));
}

/**
 * Directories that no layer has an entry for have the time of their making there, and none in ours;
 * the root has the time of the extraction even where there is an entry for it.
 */
function withoutMissingTimes(of: TreeSnapshot, ours: TreeSnapshot): TreeSnapshot {
  const entries = [...of].map(([path, entry]) => {
    const missing = entry.type === 'directory' && ours.get(path)?.mtime === '0';
    return [path, missing || path === '' ? { ...entry, mtime: '' } : entry] as const;
  });
  return new Map(entries);
}

async function check(t: Test, { layers }: TortureCase): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'thinfs-umoci-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  await mkdir(join(folder, 'layout'));
  const records = [];
  for (const layer of layers) records.push(await readRecord([layer], new Map<Digest, Buffer>()));
  const ours = snapshotOfTree(mergeLayers(records));
  const theirs = await unpackWithUmoci(layers, folder);
  const differences = compareTrees(
    withoutMissingTimes(theirs, ours),
    withoutMissingTimes(ours, ours),
  );
  t.equal(describeDifferences(differences), '');
}

t.jobs = 2;
for (const one of comparable) {
  t.test(`${one.rule} ${one.name}`, { buffered: true }, (t) => check(t, one));
}
