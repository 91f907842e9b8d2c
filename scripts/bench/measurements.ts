import { join } from 'node:path';
import { runCommand } from '../../test/support/run-command.js';
import { extractQuickly, makeBundle, openLayerCommand, runBundle } from '../extracted-image.js';
import { ensureImage } from '../images/image-cache.js';
import { readImage } from '../images/image-manifest.js';
import type { ImageName } from '../images/recipes.js';
import { type Measurement, timed } from './measurement.js';

/** What `npm run bench` measures. To measure more, add a contender or a measurement here. */
export const measurements: readonly Measurement[] = [
  conversion('python'),
  conversion('science'),
  startWarm('python'),
];

/** Time to convert an image, beside the least that has to be done: inflate and compress again. */
function conversion(name: ImageName): Measurement {
  return {
    name: `convert ${name}`,
    open: async (scratch) => {
      const image = await readImage(await ensureImage(name));
      const layers = image.layers.map((layer) => openLayerCommand(image, layer)).join('; ');
      const recompress = `{ ${layers}; } | zstd -3 -T2 -q -f -o '${join(scratch, 'layers.zst')}'`;
      return {
        unit: 'ms',
        contenders: [
          {
            name: 'zcat layers | zstd -3 -T2',
            run: () => timed(() => runCommand('bash', ['-o', 'pipefail', '-c', recompress])),
          },
        ],
        [Symbol.asyncDispose]: async () => undefined,
      };
    },
  };
}

/** Time of a container that does nothing, all of its files being here. */
function startWarm(name: ImageName): Measurement {
  return {
    name: `run /bin/true in ${name}, cached`,
    open: async (scratch) => {
      const [root, bundle] = [join(scratch, 'root'), join(scratch, 'bundle')];
      await extractQuickly(await readImage(await ensureImage(name)), root);
      await makeBundle(bundle, root, ['/bin/true']);
      return {
        unit: 'ms',
        contenders: [
          {
            name: 'runc run, extracted tree',
            run: () => timed(() => runBundle(bundle, `thinfs-bench-${process.pid}`)),
          },
        ],
        [Symbol.asyncDispose]: async () => undefined,
      };
    },
  };
}
