import { join } from 'node:path';
import { pushToRegistry } from '../../test/support/images.js';
import { ensureImage } from '../images/image-cache.js';
import { readImage } from '../images/image-manifest.js';
import type { ImageName } from '../images/recipes.js';
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
      const publish = async (name: ImageName, tag: string) => {
        const here = `${registry.host}/app:${tag}`;
        await pushToRegistry(await readImage(await ensureImage(name)), here);
        await convert({ image: here, cache: join(scratch, 'converter') });
        return `${slow.address}:${registry.port}/app:${tag}`;
      };
      // One tag that moves, and a further one by which the old version can still be had.
      await node.train(await publish('python', 'latest'));
      const old = await publish('python', 'old');
      const updated = await publish('python-updated', 'latest');
      await node.train(updated);
      return {
        unit: 'bytes',
        contenders: [],
        figures: async () => {
          const [alone] = await node.runAll([updated]);
          const [, update] = await node.runAll([old, updated]);
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
