import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import {
  compareTrees,
  describeDifferences,
  snapshotTree,
} from '../../test/support/compare-trees.js';
import { extractWithTar } from '../../test/support/extract-image.js';
import { pushToRegistry, testImage } from '../../test/support/images.js';
import { type ImageName, testedImageNames } from '../images/recipes.js';
import { convert } from './conversion.js';
import { LoopbackRegistry } from './loopback-registry.js';
import type { Figure, Measurement } from './measurement.js';
import { ThinNode } from './thin-node.js';

/** What differs between a lazy mount of every test image and an extraction of it by GNU tar. */
export function treeDifferences(): Measurement {
  return {
    name: 'differences between lazy mount and extraction',
    open: async (scratch, owned) => {
      const registry = owned.use(await LoopbackRegistry.open(scratch));
      const node = owned.use(await ThinNode.open(join(scratch, 'node')));
      return {
        unit: 'differences',
        contenders: [],
        figures: async () => {
          const figures: Figure[] = [];
          for (const name of testedImageNames) {
            figures.push(await countDifferences(name, `${registry.host}/${name}:1`, node, scratch));
          }
          return figures;
        },
      };
    },
  };
}

async function countDifferences(
  name: ImageName,
  reference: string,
  node: ThinNode,
  scratch: string,
): Promise<Figure> {
  const image = await testImage(name);
  const [tree, mountPoint] = [join(scratch, 'tree'), join(scratch, 'mounted')];
  await extractWithTar(image, tree);
  const expected = await snapshotTree(tree);
  await rm(tree, { recursive: true });
  await pushToRegistry(image, reference);
  await convert({ image: reference, cache: join(scratch, 'converter') });
  await mkdir(mountPoint, { recursive: true });
  await node.thin('mount', '--read-only', reference, mountPoint);
  const differences = compareTrees(expected, await snapshotTree(mountPoint));
  await node.thin('unmount', mountPoint);
  if (differences.length > 0) process.stdout.write(`${describeDifferences(differences, 5)}\n`);
  const counted = `${name}, ${expected.size} paths`;
  return { name: counted, unit: 'differences', value: differences.length, most: 0 };
}
