import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { layersOnNode } from '../../converter/node-layers.js';
import type { SourceImage } from '../../converter/source-image.js';
import { LayerRecordWriter } from '../../src/cache/layer-record-writer.js';
import { layerRecordPath, layerRecordsFolder } from '../../src/cache/layer-records.js';
import { digestOf } from '../../src/digest.js';

t.test('the record of another layer is not taken for a layer', async (t) => {
  const root = t.testdir({});
  const [wanted, other] = [digestOf(Buffer.from('wanted')), digestOf(Buffer.from('other'))];
  const folder = layerRecordsFolder(root);
  mkdirSync(folder);
  const write = (diffId: typeof wanted) => {
    using writer = new LayerRecordWriter(join(folder, 'draft'));
    const summary = { digest: digestOf(Buffer.from('blob')), compressedBytes: 1, plainBytes: 2 };
    writer.finish(layerRecordPath(folder, wanted), { ...summary, diffId });
  };
  const descriptor = { mediaType: 'application/vnd.oci.image.layer.v1.tar', size: 1 };
  const image: SourceImage = {
    digest: digestOf(Buffer.from('manifest')),
    manifest: { bytes: Buffer.from('manifest'), mediaType: 'any' },
    platform: { os: 'linux', architecture: 'amd64' },
    config: Buffer.from('{}'),
    layers: [
      {
        descriptor: { ...descriptor, digest: digestOf(Buffer.from('blob')) },
        diffId: wanted,
        open: () => {
          throw new Error('it is on the node');
        },
      },
    ],
  };
  const node = { root, tiers: [] };
  t.throws(() => layersOnNode(image, node), { code: 'not-found', message: /was not pulled to/ });
  write(other);
  t.throws(() => layersOnNode(image, node), { code: 'corrupt', message: /it is of sha256:/ });
  write(wanted);
  const [layer] = layersOnNode(image, node).layers;
  const events = layer?.events?.(new AbortController().signal, () => {});
  t.match(await events?.next(), { done: true, value: { diffId: wanted } });
});
