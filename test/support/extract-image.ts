import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeManifest } from '../../scripts/images/image-manifest.js';
import { type LayerBlob, OciLayoutWriter } from '../../scripts/images/oci-layout.js';
import { blobPath, type LayoutImage, layoutTag } from './images.js';
import { runCommand } from './run-command.js';

const applyScript = fileURLToPath(new URL('./apply-layer.py', import.meta.url));

/**
 * Extracts an image into the new folder `root` with umoci, which knows nothing of us. As root, so
 * that owners, devices and attributes are kept. The time of the root itself becomes that of the
 * extraction where a layer above the lowest has entries in it.
 */
export async function extractWithUmoci(image: LayoutImage, root: string): Promise<void> {
  await withTemporaryFolder(async (work) => {
    const plain = join(work, 'layout');
    await writePlainLayout(image, plain, join(work, 'layer.tar'));
    await runCommand('umoci', ['raw', 'unpack', '--image', `${plain}:${layoutTag}`, root]);
  });
}

/**
 * Extracts an image into the new folder `root` with GNU tar, layer by layer: a second opinion where
 * umoci is known to differ from the specification.
 */
export async function extractWithTar(image: LayoutImage, root: string): Promise<void> {
  await mkdir(root, { recursive: true });
  await withTemporaryFolder(async (work) => {
    const tar = join(work, 'layer.tar');
    for (const { descriptor } of image.layers) {
      await decompress(descriptor.mediaType, blobPath(image.layout, descriptor.digest), tar);
      await runCommand('python3', [applyScript, root, tar]);
    }
  });
}

/** umoci 0.4 reads no zstd: it gets the same layers uncompressed. */
async function writePlainLayout(image: LayoutImage, folder: string, tar: string): Promise<void> {
  const writer = await OciLayoutWriter.create(folder);
  await writer.adoptBlob(image.layout, image.config.digest);
  const layers: LayerBlob[] = [];
  for (const { descriptor } of image.layers) {
    await decompress(descriptor.mediaType, blobPath(image.layout, descriptor.digest), tar);
    layers.push(await writer.addLayer(createReadStream(tar), 'none'));
  }
  await writeManifest(writer, image.config, layers);
}

async function decompress(mediaType: string, from: string, to: string): Promise<void> {
  const program = mediaType.endsWith('+gzip') ? 'gzip' : mediaType.endsWith('+zstd') ? 'zstd' : '';
  const command = program ? `${program} --decompress --stdout` : 'cat';
  await runCommand('sh', ['-c', `${command} < "$0" > "$1"`, from, to]);
}

async function withTemporaryFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'thinfs-extract-'));
  try {
    await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
