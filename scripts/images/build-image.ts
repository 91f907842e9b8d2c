/**
 * Builds one test image: `build-image.ts <name>`. Started by image-cache.ts, as root, in mount and
 * process namespaces of its own.
 */
import { createReadStream, existsSync } from 'node:fs';
import { chmod, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { runCommand } from '../../test/support/run-command.js';
import {
  accessOptions,
  debianSources,
  installPackages,
  releaseCodename,
} from './debian-archive.js';
import { layoutPath } from './image-cache.js';
import { readImage, writeConfig, writeManifest } from './image-manifest.js';
import { blobPath, type LayerBlob, OciLayoutWriter } from './oci-layout.js';
import { openTar, recordChanges } from './overlay-layer.js';
import {
  type Foundation,
  type ImageName,
  type ImageRecipe,
  imageNames,
  recipes,
  type Step,
} from './recipes.js';
import { tortureArchives } from './torture-archives.js';

/** A place for the mount of the memory file system, which only this process sees. */
const work = '/run/thinfs-image-build';
/** Upper bound of that file system; the largest image takes a third of it. */
const workSizeMax = '4g';

/** What differs from one build to the next, or is of no use in an image. */
const leftovers = [
  'usr/sbin/policy-rc.d',
  'var/cache/apt/*',
  'var/lib/apt/lists/*',
  'var/log/*',
  'var/cache/ldconfig/aux-cache',
  'var/cache/debconf/*-old',
  'var/lib/dpkg/*-old',
  'etc/*-',
  'tmp/*',
  'run/*',
];

async function main(): Promise<void> {
  const name = imageNames.find((known) => known === process.argv[2]);
  if (!name) throw new Error(`Cannot build image: wanted one of ${imageNames.join(', ')}`);
  const layout = layoutPath(name);
  if (existsSync(layout)) return;
  const partial = `${layout}.partial`;
  await rm(partial, { recursive: true, force: true });
  await mkdir(work, { recursive: true });
  await runCommand('mount', ['-t', 'tmpfs', '-o', `size=${workSizeMax},mode=755`, 'tmpfs', work]);
  await build(name, partial);
  await rename(partial, layout);
}

async function build(name: ImageName, layout: string): Promise<void> {
  const recipe = recipes[name];
  const writer = await OciLayoutWriter.create(layout);
  const layers = await foundationLayers(recipe, writer);
  const lowers = [join(work, 'base')];
  for (const [index, layer] of recipe.layers.entries()) {
    const folder = join(work, `layer-${index}`);
    const changed = await recordChanges(folder, lowers, (root) => apply(root, recipe, layer.steps));
    lowers.unshift(changed);
    const tar = await openTar(changed, recipe.epoch);
    layers.push(await writer.addLayer(tar, layer.compression));
  }
  await writeManifest(writer, await writeConfig(writer, recipe, layers), layers);
}

/** Stores the layers that an image begins with, and leaves them extracted in `work`/base. */
async function foundationLayers(
  recipe: ImageRecipe,
  writer: OciLayoutWriter,
): Promise<LayerBlob[]> {
  const { foundation } = recipe;
  const base = join(work, 'base');
  await mkdir(base);
  if ('archives' in foundation) {
    const layers: LayerBlob[] = [];
    for (const tar of tortureArchives()) {
      layers.push(await writer.addLayer(Readable.from([tar]), 'gzip'));
    }
    return layers;
  }
  if (!('image' in foundation)) {
    const tar = await bootstrap(foundation, recipe.epoch);
    await runCommand('tar', ['--extract', '--xattrs', '--xattrs-include=*', '-C', base, '-f', tar]);
    return [await writer.addLayer(createReadStream(tar), 'gzip')];
  }
  const below = await readImage(layoutPath(foundation.image));
  for (const { descriptor } of below.layers) {
    await writer.adoptBlob(below.layout, descriptor.digest);
    const blob = blobPath(below.layout, descriptor.digest);
    await runCommand('tar', [
      '--extract',
      '--gzip',
      '--xattrs',
      '--xattrs-include=*',
      '-C',
      base,
      '-f',
      blob,
    ]);
  }
  return [...below.layers];
}

/** Makes a Debian root as a tar. Neither names of archives nor of this host are left in it. */
async function bootstrap(
  foundation: Extract<Foundation, { variant: string }>,
  epoch: number,
): Promise<string> {
  const tar = join(work, 'bootstrap.tar');
  const [sources, options] = [join(work, 'bootstrap.list'), join(work, 'bootstrap.conf')];
  await writeFile(sources, await debianSources(foundation.archive));
  await writeFile(options, await accessOptions());
  const include = foundation.include.map((name) => `--include=${name}`);
  const host = ['etc/apt/sources.list', 'etc/resolv.conf', 'etc/hostname'];
  const forget = `cd "$1" && rm -rf ${[...host, ...leftovers].join(' ')}`;
  await runCommand(
    'mmdebstrap',
    [
      '--mode=root',
      `--variant=${foundation.variant}`,
      ...include,
      `--aptopt=${options}`,
      `--customize-hook=${forget}`,
      await releaseCodename(),
      tar,
      sources,
    ],
    { env: { SOURCE_DATE_EPOCH: String(epoch), TMPDIR: work } },
  );
  return tar;
}

async function apply(root: string, recipe: ImageRecipe, steps: readonly Step[]): Promise<void> {
  for (const step of steps) {
    if ('files' in step) await writeFiles(root, step.files);
    else if ('command' in step) await runInside(root, recipe.epoch, step.command);
    else await install(root, recipe, step.debian);
  }
  await runCommand('sh', ['-c', `cd "$0" && rm -rf ${leftovers.join(' ')}`, root]);
}

async function install(
  root: string,
  recipe: ImageRecipe,
  packages: readonly string[],
): Promise<void> {
  // Services must not start in a tree that is only being built.
  await writeFiles(root, { '/usr/sbin/policy-rc.d': '#!/bin/sh\nexit 101\n' });
  await runCommand('mount', ['-t', 'proc', 'proc', join(root, 'proc')]);
  try {
    await installPackages(root, work, recipe.archive, packages);
  } finally {
    await runCommand('umount', [join(root, 'proc')]);
  }
}

async function writeFiles(root: string, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [path, text] of Object.entries(files)) {
    const file = join(root, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text);
    await chmod(file, text.startsWith('#!') ? 0o755 : 0o644);
  }
}

async function runInside(root: string, epoch: number, command: readonly string[]): Promise<void> {
  const path = '/usr/sbin:/usr/bin:/sbin:/bin';
  await runCommand('chroot', [root, ...command], {
    env: {
      PATH: `${path}:${process.env.PATH}`,
      SOURCE_DATE_EPOCH: String(epoch),
      LC_ALL: 'C.UTF-8',
    },
  });
}

await main();
