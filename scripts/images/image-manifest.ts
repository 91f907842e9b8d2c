import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { isDigest } from '../../src/digest.js';
import {
  type BlobDescriptor,
  type LayerBlob,
  type OciLayoutWriter,
  readBlob,
} from './oci-layout.js';
import type { ImageRecipe } from './recipes.js';

/** An image of a layout, as far as building on it and testing with it need. */
export interface LayoutImage {
  readonly layout: string;
  readonly manifest: BlobDescriptor;
  readonly config: BlobDescriptor;
  readonly layers: readonly LayerBlob[];
}

/** The tag of the one image in each layout. */
export const layoutTag = 'latest';

const descriptorSchema = z.object({
  mediaType: z.string(),
  digest: z.string().refine(isDigest),
  size: z.number().int().nonnegative(),
});
const indexSchema = z.object({ manifests: z.array(descriptorSchema).length(1) });
const manifestSchema = z.object({ config: descriptorSchema, layers: z.array(descriptorSchema) });
const configSchema = z.object({
  rootfs: z.object({ diff_ids: z.array(z.string().refine(isDigest)) }),
});

const architectures: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };

/** Writes the configuration that a recipe asks for. */
export async function writeConfig(
  writer: OciLayoutWriter,
  recipe: ImageRecipe,
  layers: readonly LayerBlob[],
): Promise<BlobDescriptor> {
  const created = new Date(recipe.epoch * 1000).toISOString();
  return writer.addJson('application/vnd.oci.image.config.v1+json', {
    created,
    architecture: architectures[process.arch] ?? process.arch,
    os: 'linux',
    config: recipe.config,
    rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
    history: layers.map((_, index) => ({ created, created_by: `thinfs test layer ${index}` })),
  });
}

/** Writes manifest and index: the last things that a layout needs. */
export async function writeManifest(
  writer: OciLayoutWriter,
  config: BlobDescriptor,
  layers: readonly LayerBlob[],
): Promise<void> {
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const manifest = await writer.addJson(mediaType, {
    schemaVersion: 2,
    mediaType,
    config,
    layers: layers.map(({ descriptor }) => descriptor),
  });
  await writer.writeIndex(new Map([[layoutTag, manifest]]));
}

/** @throws ZodError if the layout does not hold exactly one image with SHA-256 digests. */
export async function readImage(layout: string): Promise<LayoutImage> {
  const index = indexSchema.parse(JSON.parse(await readFile(join(layout, 'index.json'), 'utf8')));
  const [manifest] = index.manifests;
  if (!manifest) throw new Error(`Cannot read ${layout}: no manifest in its index`);
  const { config, layers } = manifestSchema.parse(await readJson(layout, manifest));
  const { rootfs } = configSchema.parse(await readJson(layout, config));
  return {
    layout,
    manifest,
    config,
    layers: layers.flatMap((descriptor, at) => {
      const diffId = rootfs.diff_ids[at];
      return diffId ? [{ descriptor, diffId }] : [];
    }),
  };
}

async function readJson(layout: string, { digest }: BlobDescriptor): Promise<unknown> {
  return JSON.parse((await readBlob(layout, digest)).toString('utf8'));
}
