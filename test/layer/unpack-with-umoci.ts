import { join } from 'node:path';
import { Readable } from 'node:stream';
import { layoutTag, writeManifest } from '../../scripts/images/image-manifest.js';
import { type LayerBlob, OciLayoutWriter } from '../../scripts/images/oci-layout.js';
import { snapshotTree, type TreeSnapshot } from '../support/compare-trees.js';
import { runCommand } from '../support/run-command.js';

/**
 * What umoci makes of plain archives, lowest first.
 * @param folder an empty one, to work in
 * @returns `undefined` if umoci refuses the layers
 */
export async function unpackWithUmoci(
  layers: readonly Buffer[],
  folder: string,
): Promise<TreeSnapshot | undefined> {
  const writer = await OciLayoutWriter.create(join(folder, 'layout'));
  const blobs: LayerBlob[] = [];
  for (const layer of layers)
    blobs.push(await writer.addLayer(Readable.from(layer.length > 0 ? [layer] : []), 'none'));
  const config = await writer.addJson('application/vnd.oci.image.config.v1+json', {
    architecture: 'amd64',
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: blobs.map(({ diffId }) => diffId) },
  });
  await writeManifest(writer, config, blobs);
  const image = `${join(folder, 'layout')}:${layoutTag}`;
  const args = ['raw', 'unpack', '--image', image, join(folder, 'root')];
  const { code } = await runCommand('umoci', args, { mayFail: true });
  return code === 0 ? snapshotTree(join(folder, 'root')) : undefined;
}
