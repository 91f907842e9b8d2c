import { join } from 'node:path';
import { pushToRegistry } from '../../test/support/images.js';
import { ensureImage } from '../images/image-cache.js';
import { readImage } from '../images/image-manifest.js';
import { convert } from './conversion.js';
import { LoopbackRegistry } from './loopback-registry.js';
import { FarNode } from './measure-start-link.js';
import type { Measurement } from './measurement.js';
import { type LinkOptions, SlowLink } from './slow-link.js';
import { startPrograms } from './start-programs.js';

/** Of the bytes that a trained start fetches where the old version is not. */
const bytesMost = 0.3;

/** What a trained start of a new version fetches where the old one has run. */
export function startOfUpdate(link: LinkOptions): Measurement {
  return {
    name: 'start of python-updated where python has run',
    open: async (scratch, owned) => {
      const slow = owned.use(await SlowLink.open(scratch, link));
      const registry = owned.use(await LoopbackRegistry.open(scratch, 0, '0.0.0.0'));
      const node = new FarNode(slow, join(scratch, 'node'), startPrograms.python);
      const references: string[] = [];
      for (const name of ['python', 'python-updated'] as const) {
        const here = `${registry.host}/app:${name}`;
        await pushToRegistry(await readImage(await ensureImage(name)), here);
        await convert({ image: here, cache: join(scratch, 'converter') });
        const far = `${slow.address}:${registry.port}/app:${name}`;
        await node.train(far);
        references.push(far);
      }
      return {
        unit: 'bytes',
        contenders: [],
        figures: async () => {
          const [alone] = await node.runAll(references.slice(1));
          const [, update] = await node.runAll(references);
          if (!alone || !update) throw new Error('Cannot measure an update: it has not run');
          return [
            { name: 'alone: fetched', unit: 'bytes', value: alone.bytes },
            { name: 'alone: time', unit: 'ms', value: alone.milliseconds },
            { name: 'update: fetched', unit: 'bytes', value: update.bytes },
            { name: 'update: time', unit: 'ms', value: update.milliseconds },
            {
              ...{ name: 'update / alone', unit: '', most: bytesMost },
              value: update.bytes / alone.bytes,
            },
          ];
        },
      };
    },
  };
}
