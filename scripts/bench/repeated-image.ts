import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { archiveEnd, paddingOf, tarHeader } from '../../converter/tar-writer.js';
import type { ByteString } from '../../src/byte-string.js';
import type { TarEntry } from '../../src/image/layer-entry.js';
import { readLayer } from '../../src/layer/read-layer.js';
import type { TarEvent } from '../../src/layer/tar-event.js';
import { type LayoutImage, writeManifest } from '../images/image-manifest.js';
import { blobPath, type LayerBlob, OciLayoutWriter, readBlob } from '../images/oci-layout.js';

/**
 * An image of the layers of another one, `times` over: each time in a folder of its own and with other
 * bytes, so that nothing is there twice. The copies are not compressed.
 * @param layout a folder to make
 */
export async function repeatImage(
  image: LayoutImage,
  times: number,
  layout: string,
): Promise<void> {
  const writer = await OciLayoutWriter.create(layout);
  const layers: LayerBlob[] = [];
  for (let copy = 0; copy < times; copy += 1) {
    for (const { descriptor } of image.layers) {
      const source = createReadStream(blobPath(image.layout, descriptor.digest));
      const events = readLayer(source, { signal: new AbortController().signal });
      layers.push(await writer.addLayer(Readable.from(archiveOf(events, copy)), 'none'));
    }
  }
  const config: unknown = JSON.parse(
    (await readBlob(image.layout, image.config.digest)).toString(),
  );
  if (typeof config !== 'object') throw new Error('Cannot repeat image: its config is no object');
  const rootfs = { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) };
  const type = 'application/vnd.oci.image.config.v1+json';
  await writeManifest(writer, await writer.addJson(type, { ...config, rootfs }), layers);
}

async function* archiveOf(layer: AsyncIterable<TarEvent[]>, copy: number): AsyncGenerator<Buffer> {
  let size = 0;
  for await (const events of layer) {
    for (const event of events) {
      if (event.type === 'entry') {
        size = event.entry.type === 'file' ? event.entry.size : 0;
        yield tarHeader(movedInto(`copy-${copy}`, event.entry));
      } else if (event.type === 'data') yield Buffer.from(event.bytes.map((byte) => byte ^ copy));
      else if (event.type === 'hole') yield Buffer.alloc(event.length, copy);
      else yield paddingOf(size);
    }
  }
  yield archiveEnd;
}

function movedInto(folder: string, entry: TarEntry): TarEntry {
  const moved = (path: ByteString) => `${folder}/${path}`.replace(/\/$/, '') as ByteString;
  const path = moved(entry.path);
  return entry.type === 'hardlink'
    ? { ...entry, path, target: moved(entry.target) }
    : { ...entry, path };
}
