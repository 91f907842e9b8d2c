import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Digest } from '../../src/digest.js';
import { mergeLayers } from '../../src/metadata/merge.js';
import { compareTrees, describeDifferences, type TreeSnapshot } from '../support/compare-trees.js';
import { readRecord } from './read-records.js';
import { type TortureCase, tortureLayers } from './torture-layers.js';
import { snapshotOfTree } from './tree-snapshot.js';
import { unpackWithUmoci } from './unpack-with-umoci.js';

/** umoci reads the media type, and knows no zstd: it gets what is a plain archive. */
function isPlain(layer: Buffer): boolean {
  return !['1f8b', '28b5', '572a'].includes(layer.toString('hex', 0, 2));
}

const comparable = tortureLayers().filter(({ layers }) => layers.every(isPlain));

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
