import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { layoutTag } from '../../test/support/images.js';
import { runCommand } from '../../test/support/run-command.js';
import { openLayerCommand } from '../extracted-image.js';
import { ensureImage } from '../images/image-cache.js';
import { type LayoutImage, readImage } from '../images/image-manifest.js';
import type { ImageName } from '../images/recipes.js';
import { type Conversion, convert } from './conversion.js';
import { type Figure, type Measurement, median, timed } from './measurement.js';
import { repeatImage } from './repeated-image.js';

/** Times the plain recompression. */
const ratioMost = 1.5;
/** Megabytes (10^6) that a converter may take, however large the image. */
const memoryMost = 400;

/** Time to convert an image, beside the least that has to be done: inflate and compress again. */
export function conversion(name: ImageName): Measurement {
  return {
    name: `convert ${name}`,
    open: async (scratch) => {
      const image = await readImage(await ensureImage(name));
      const layers = image.layers.map((layer) => openLayerCommand(image, layer)).join('; ');
      const recompress = `{ ${layers}; } | zstd -3 -T2 -q -f -o '${join(scratch, 'layers.zst')}'`;
      const conversions: Conversion[] = [];
      return {
        unit: 'ms',
        limit: { ratio: ratioMost },
        contenders: [
          {
            name: 'zcat layers | zstd -3 -T2',
            run: () => timed(() => runCommand('bash', ['-o', 'pipefail', '-c', recompress])),
          },
          {
            name: 'thinify --to dir:',
            run: async () => {
              const done = await convertAnew(name, join(scratch, 'thin'));
              conversions.push(done);
              return done.milliseconds;
            },
          },
        ],
        // With --only, it may not have run.
        figures: async () => (conversions.length > 0 ? describe(conversions, image) : []),
      };
    },
  };
}

function describe(conversions: readonly Conversion[], image: LayoutImage): Figure[] {
  const layerBytes = image.layers.reduce((sum, { descriptor }) => sum + descriptor.size, 0);
  const published = conversions.at(-1)?.publishedBytes ?? Number.NaN;
  const peak = median(conversions.map(({ peakMemory }) => peakMemory / 1e6));
  return [
    { name: 'peak memory, median', unit: 'MB', value: Math.round(peak), most: memoryMost },
    { name: 'layers of the original', unit: 'bytes', value: layerBytes },
    { name: 'published packs', unit: 'bytes', value: published },
    { name: 'published / original', unit: '', value: published / layerBytes, most: 1 },
  ];
}

/**
 * Memory that one more content may take, in bytes, with its names and inodes (half as many again) and
 * its place in the metadata: the limit then holds up to a quarter of a million files.
 */
const memoryPerFileMost = 1100;

/** Memory to convert an image, and one of three times as many files and bytes, all different. */
export function memoryOfConversion(name: ImageName): Measurement {
  return {
    name: `memory to convert ${name} three times over`,
    open: async (scratch) => ({
      unit: 'bytes',
      contenders: [],
      figures: async () => {
        const large = join(scratch, 'large');
        await repeatImage(await readImage(await ensureImage(name)), 3, large);
        const once = await convertAnew(name, join(scratch, 'thin'));
        const thrice = await convertLayout(large, join(scratch, 'thin-large'), name);
        const grown = thrice.peakMemory - once.peakMemory;
        const perFile = Math.round(grown / (thrice.files - once.files));
        const inMB = (bytes: number) => Math.round(bytes / 1e6);
        return [
          { name: `${name}: files`, unit: '', value: once.files },
          { name: 'peak', unit: 'MB', value: inMB(once.peakMemory), most: memoryMost },
          { name: 'three times over: files', unit: '', value: thrice.files },
          { name: 'peak', unit: 'MB', value: inMB(thrice.peakMemory), most: memoryMost },
          { name: 'for each further file', unit: 'bytes', value: perFile, most: memoryPerFileMost },
        ];
      },
    }),
  };
}

/** What an update and a repetition cost, in bytes that leave the build server. */
export function conversionOfUpdate(): Measurement {
  return {
    name: 'convert python again and updated',
    open: async (scratch) => ({
      unit: 'bytes',
      contenders: [],
      figures: async () => {
        const first = await convertInto(scratch, 'python');
        const again = await convertInto(scratch, 'python');
        const updated = await convertInto(scratch, 'python-updated');
        const alone = await convertAnew('python-updated', join(scratch, 'alone'));
        const changed = updated.bytesUploaded / alone.bytesUploaded;
        return [
          { name: 'python: uploaded', unit: 'bytes', value: first.bytesUploaded },
          { name: 'python again: uploaded', unit: 'bytes', value: again.bytesUploaded, most: 0 },
          { name: 'python-updated: uploaded', unit: 'bytes', value: updated.bytesUploaded },
          { name: 'python-updated alone: uploaded', unit: 'bytes', value: alone.bytesUploaded },
          { name: 'share of python-updated that is new', unit: '', value: changed, most: 1 },
        ];
      },
    }),
  };
}

/** With nothing there from before. */
async function convertAnew(name: ImageName, folder: string): Promise<Conversion> {
  await rm(folder, { recursive: true, force: true });
  return convertInto(folder, name);
}

/** To the store and with the index of `folder`, as the next version of one image. */
async function convertInto(folder: string, name: ImageName): Promise<Conversion> {
  return convertLayout(await ensureImage(name), folder, name);
}

async function convertLayout(layout: string, folder: string, name: string): Promise<Conversion> {
  return convert({
    image: `oci:${layout}:${layoutTag}`,
    cache: join(folder, 'cache'),
    to: { store: `dir:${join(folder, 'store')}`, name: `bench/image:${name}` },
  });
}
