import { mkdtemp, rm } from 'node:fs/promises';
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

const comparable = tortureLayers().filter(({ layers }) => layers.every(isPlain));

/** @returns `undefined` if umoci refuses the layers */
async function unpackWithUmoci(
  layers: readonly Buffer[],
  folder: string,
): Promise<TreeSnapshot | undefined> {
  const writer = await OciLayoutWriter.create(join(folder, 'layout'));
  const blobs: LayerBlob[] = [];
  for (const layer of layers)
    blobs.push(await writer.addLayer(Readable.from(layer.length > 0 ? [layer] : []), 'none'));
  const config = await writer.addJson('application/vnd.oci.image.config.v1+json', {
    architecture: 'amd64',
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: blobs.map(({ diffId }) => diffId) },
  });
  await writeManifest(writer, config, blobs);
  const image = `${join(folder, 'layout')}:${layoutTag}`;
  const args = ['raw', 'unpack', '--image', image, join(folder, 'root')];
  const { code } = await runCommand('umoci', args, { mayFail: true });
  return code === 0 ? snapshotTree(join(folder, 'root')) : undefined;
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

/** What differs on purpose is said in the case, and has to differ: that is checked too. */
async function check(t: Test, { layers, expected, umociDiffers }: TortureCase): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'thinfs-umoci-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const theirs = await unpackWithUmoci(layers, folder);
  if (expected instanceof RegExp || theirs === undefined) {
    const same = expected instanceof RegExp === (theirs === undefined);
    t.equal(same, umociDiffers === undefined, theirs === undefined ? 'refuses it' : 'accepts it');
    return;
  }
  const records = [];
  for (const layer of layers) records.push(await readRecord([layer], new Map<Digest, Buffer>()));
  const ours = snapshotOfTree(mergeLayers(records));
  const differences = compareTrees(
    withoutMissingTimes(theirs, ours),
    withoutMissingTimes(ours, ours),
  );
  if (umociDiffers === undefined) t.equal(describeDifferences(differences), '');
  else t.not(describeDifferences(differences), '', umociDiffers);
}

t.jobs = 2;
for (const one of comparable) {
  t.test(`${one.rule} ${one.name}`, { buffered: true }, (t) => check(t, one));
}
