import { readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ChunkMap } from '../../src/thin/chunk-map.js';
import { pushToRegistry } from '../../test/support/images.js';
import { extractQuickly, makeBundle, runBundle } from '../extracted-image.js';
import { ensureImage } from '../images/image-cache.js';
import { readImage } from '../images/image-manifest.js';
import { convert } from './conversion.js';
import { LoopbackRegistry } from './loopback-registry.js';
import { type Figure, type Measurement, median, RunCosts, timed } from './measurement.js';
import { ThinNode } from './thin-node.js';
import { type TouchedRanges, touchedFrames, touchedRanges } from './touched-frames.js';

const program = ['python3', '-c', 'import json'] as const;

/** A first run, on a node that has nothing of the image. */
interface ColdRun {
  readonly milliseconds: number;
  readonly requests: number;
  /** Compressed, of frames. */
  readonly bytes: number;
  /** Of a thin image, its chunk map; else empty. */
  readonly chunkMap: Buffer;
}

/** What the first run of a program that needs little of its image fetches, and how long it takes. */
export function fewFiles(): Measurement {
  return {
    name: 'first run of a program that needs few files (python)',
    open: async (scratch, owned) => {
      const image = await readImage(await ensureImage('python'));
      const registry = owned.use(await LoopbackRegistry.open(scratch));
      const [plain, thin] = [`${registry.host}/plain:1`, `${registry.host}/thin:1`];
      await pushToRegistry(image, plain);
      await pushToRegistry(image, thin);
      await convert({ image: thin, cache: join(scratch, 'converter') });
      const root = join(scratch, 'node');
      const runs = new RunCosts<ColdRun>();
      return {
        unit: 'ms',
        limit: { ratio: 1 },
        contenders: [
          runs.contender('pulled in full', () => runCold(root, plain)),
          runs.contender('thin image', () => runCold(root, thin)),
        ],
        figures: async () => {
          const tree = join(scratch, 'tree');
          await extractQuickly(image, tree);
          await makeBundle(join(scratch, 'bundle'), tree, program);
          const id = `thinfs-bench-${process.pid}`;
          const touched = await touchedRanges(tree, () => runBundle(join(scratch, 'bundle'), id));
          const layers = image.layers.reduce((sum, { descriptor }) => sum + descriptor.size, 0);
          return describe(runs.of('thin image'), touched, layers);
        },
      };
    },
  };
}

async function runCold(root: string, reference: string): Promise<ColdRun> {
  await rm(root, { recursive: true, force: true });
  await using node = await ThinNode.open(root);
  const milliseconds = await timed(() => node.thin('run', '--rm', reference, ...program));
  const { fetched, descriptorPath } = await node.image(reference);
  const chunkMap = descriptorPath && (await readFile(join(dirname(descriptorPath), 'chunk-map')));
  return { milliseconds, ...fetched, chunkMap: chunkMap || Buffer.alloc(0) };
}

function describe(runs: readonly ColdRun[], touched: TouchedRanges, layerBytes: number): Figure[] {
  const bytes = median(runs.map((run) => run.bytes));
  const requests = median(runs.map((run) => run.requests));
  const map = ChunkMap.parse(runs.at(-1)?.chunkMap ?? Buffer.alloc(0));
  const frames = touchedFrames(map, touched);
  return [
    { name: 'frames touched, page by page', unit: 'frames', value: frames.frames },
    { name: 'compressed bytes of these frames', unit: 'bytes', value: frames.bytes },
    { name: 'fetched', unit: 'bytes', value: bytes },
    { name: 'requests', unit: 'requests', value: requests },
    { name: 'fetched / frames touched', unit: '', value: bytes / frames.bytes, most: 1.5 },
    { name: 'fetched / layers of the original', unit: '', value: bytes / layerBytes },
  ];
}
