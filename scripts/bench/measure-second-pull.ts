import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { z } from 'zod';
import { pushToRegistry } from '../../test/support/images.js';
import { runCommand } from '../../test/support/run-command.js';
import { ensureImage } from '../images/image-cache.js';
import { readImage } from '../images/image-manifest.js';
import { LoopbackRegistry } from './loopback-registry.js';
import type { Measurement } from './measurement.js';
import { ThinNode } from './thin-node.js';

/** Times what is new. */
const ratioMost = 1.1;
const sectorBytes = 512;
const pinnedMsMax = 60_000;

const pulledSchema = z.object({ event: z.literal('pulled'), writtenBytes: z.number() });

/** What the disk has to write for a rebuilt image where the one before it is. */
export function pullOfUpdate(): Measurement {
  return {
    name: 'pull python-updated where python is',
    open: async (scratch, owned) => {
      return {
        unit: 'bytes',
        contenders: [],
        figures: async () => {
          const registry = owned.use(await LoopbackRegistry.open(scratch));
          for (const name of ['python', 'python-updated'] as const) {
            const image = await readImage(await ensureImage(name));
            await pushToRegistry(image, `${registry.host}/${name}:1`);
          }
          const node = owned.use(await ThinNode.open(join(scratch, 'node')));
          const alone = owned.use(await ThinNode.open(join(scratch, 'alone')));
          const pull = async (on: ThinNode, name: string) => {
            const { stdout } = await on.thin('pull', '--json', `${registry.host}/${name}:1`);
            const last = stdout.trimEnd().split('\n').at(-1) ?? '';
            return pulledSchema.parse(JSON.parse(last)).writtenBytes;
          };
          const pinned = (images: number) => untilPinned(join(node.root, 'pinned'), images);
          const whole = await pull(alone, 'python-updated');
          await pull(node, 'python');
          await pinned(1);
          const before = await writtenTo(scratch);
          const files = await pull(node, 'python-updated');
          const metadata = await pinned(2);
          const disk = (await writtenTo(scratch)) - before;
          return [
            { name: 'python-updated alone: files', unit: 'bytes', value: whole },
            { name: 'after python: files that are new', unit: 'bytes', value: files },
            { name: 'new share', unit: '', value: files / whole },
            { name: 'written to the disk, its journal included', unit: 'bytes', value: disk },
            { name: 'written / new', unit: '', value: disk / files, most: ratioMost },
            { name: 'its metadata', unit: 'bytes', value: metadata },
            { name: 'written / new, metadata too', unit: '', value: disk / (files + metadata) },
          ];
        },
      };
    },
  };
}

/**
 * What follows a pull, until the image is one for good, belongs to what it writes.
 * @returns bytes of the youngest image's metadata
 */
async function untilPinned(folder: string, images: number): Promise<number> {
  for (const deadline = Date.now() + pinnedMsMax; Date.now() < deadline; await setTimeout(50)) {
    const names = (await readdir(folder)).filter((name) => name.endsWith('.erofs'));
    if (names.length < images) continue;
    const found = await Promise.all(names.map((name) => stat(join(folder, name))));
    return found.sort((a, b) => b.mtimeMs - a.mtimeMs)[0]?.size ?? 0;
  }
  throw new Error(`Cannot measure what is written: fewer than ${images} images are kept for good`);
}

/** Bytes that the device under a mount point has been given, after all is written. */
async function writtenTo(mountPoint: string): Promise<number> {
  await runCommand('sync', []);
  const { stdout } = await runCommand('findmnt', ['-no', 'SOURCE', mountPoint]);
  const stat = await readFile(`/sys/block/${basename(stdout.trim())}/stat`, 'utf8');
  return Number(stat.trim().split(/\s+/)[6]) * sectorBytes;
}
