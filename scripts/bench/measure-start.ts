import { join } from 'node:path';
import { pushToRegistry } from '../../test/support/images.js';
import { extractQuickly, makeBundle, runBundle } from '../extracted-image.js';
import { ensureImage } from '../images/image-cache.js';
import { readImage } from '../images/image-manifest.js';
import type { ImageName } from '../images/recipes.js';
import { convert } from './conversion.js';
import { LoopbackRegistry } from './loopback-registry.js';
import { type Measurement, timed } from './measurement.js';
import { ThinNode } from './thin-node.js';

/** Time of a container that does nothing, all of its files being here. */
export function startWarm(name: ImageName): Measurement {
  return {
    name: `run /bin/true in ${name}, cached`,
    open: async (scratch, owned) => {
      const [root, bundle] = [join(scratch, 'root'), join(scratch, 'bundle')];
      const image = await readImage(await ensureImage(name));
      await extractQuickly(image, root);
      await makeBundle(bundle, root, ['/bin/true']);
      const registry = owned.use(await LoopbackRegistry.open(scratch));
      const reference = `${registry.host}/${name}:1`;
      await pushToRegistry(image, reference);
      await convert({ image: reference, cache: join(scratch, 'converter') });
      const node = owned.use(await ThinNode.open(join(scratch, 'node')));
      return {
        unit: 'ms',
        limit: { extra: 150 },
        contenders: [
          {
            name: 'runc run, extracted tree',
            run: () => timed(() => runBundle(bundle, `thinfs-bench-${process.pid}`)),
          },
          {
            name: 'thin run --rm, thin image',
            run: () => timed(() => node.thin('run', '--rm', reference, '/bin/true')),
          },
        ],
      };
    },
  };
}
