import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { Digest } from '../../src/digest.js';
import { isThinError } from '../../src/errors.js';
import { mergeLayers } from '../../src/metadata/merge.js';
import { compareTrees, describeDifferences, type TreeSnapshot } from '../support/compare-trees.js';
import fc from '../support/properties.js';
import { archive, directory, file } from '../support/tar-builder.js';
import { readRecord } from './read-records.js';
import { snapshotOfTree } from './tree-snapshot.js';
import { unpackWithUmoci } from './unpack-with-umoci.js';

/**
 * Stacks of random layers. They hold what both of us read alike: whiteouts stand in front, since
 * umoci takes an archive in its order, and there are no symlinks (the torture layers have those).
 */
const path = fc
  .array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 3 })
  .map((components) => components.join('/'));
const whiteout = path.map((name) => name.replace(/[^/]*$/, (last) => `.wh.${last}`));
const opaque = path.map((name) => name.replace(/[^/]*$/, '.wh..wh..opq'));
const content = fc.record({
  path,
  mode: fc.constantFrom(0o600, 0o644, 0o755),
  isFile: fc.boolean(),
});
const layer = fc
  .record({
    removals: fc.array(fc.oneof(whiteout, whiteout, opaque), { maxLength: 3 }),
    contents: fc.uniqueArray(content, { selector: (entry) => entry.path, maxLength: 7 }),
  })
  .map(({ removals, contents }) => {
    const sorted = [...contents].sort((a, b) => (a.path < b.path ? -1 : 1));
    return archive(
      ...removals.map((name) => file(name)),
      ...sorted.map(({ path: name, mode, isFile }) =>
        isFile ? file(name, name, { mode }) : directory(name, { mode }),
      ),
    );
  });

async function mergeOurs(layers: readonly Buffer[]): Promise<TreeSnapshot | undefined> {
  const records = [];
  for (const bytes of layers) records.push(await readRecord([bytes], new Map<Digest, Buffer>()));
  try {
    return snapshotOfTree(mergeLayers(records));
  } catch (error) {
    if (isThinError(error, 'corrupt')) return undefined;
    throw error;
  }
}

/** umoci lets the making of missing directories change the time of those above. */
function withoutTimes(tree: TreeSnapshot): TreeSnapshot {
  return new Map([...tree].map(([name, entry]) => [name, { ...entry, mtime: '' }]));
}

async function compareWithUmoci(layers: readonly Buffer[]): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'thinfs-umoci-'));
  try {
    const theirs = await unpackWithUmoci(layers, folder);
    const ours = await mergeOurs(layers);
    if (theirs === undefined || ours === undefined) {
      return theirs === ours ? '' : `only ${ours === undefined ? 'we refuse' : 'umoci refuses'} it`;
    }
    return describeDifferences(compareTrees(withoutTimes(theirs), withoutTimes(ours)));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

t.test('umoci makes the same of random layers', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(layer, { minLength: 1, maxLength: 4 }), async (layers) => {
      const differences = await compareWithUmoci(layers);
      if (differences !== '') throw new Error(differences);
    }),
    { numRuns: 40 },
  );
});
