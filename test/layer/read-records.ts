import { type Digest, digestOf } from '../../src/digest.js';
import type { LayerEntry, LayerRecord, TarEntry } from '../../src/image/layer-entry.js';
import { type ReadLayerOptions, readLayer } from '../../src/layer/read-layer.js';
import type { TarEvent } from '../../src/layer/tar-event.js';

export interface ReadRecord extends LayerRecord {
  readonly compressedBytes: number;
  readonly plainBytes: number;
  readonly digest: Digest;
}

/** All a layer has, with the content of its files put into `contents`. */
export async function readRecord(
  pieces: readonly Buffer[],
  contents: Map<Digest, Buffer>,
  options: Partial<ReadLayerOptions> = {},
): Promise<ReadRecord> {
  const events = readLayer(sourceOf(pieces), { signal: new AbortController().signal, ...options });
  const entries: LayerEntry[] = [];
  const take = entryTaker(entries, contents);
  for (;;) {
    const result = await events.next();
    if (result.done === true) return { ...result.value, entries };
    for (const event of result.value) take(event);
  }
}

export async function* sourceOf(pieces: readonly Buffer[]): AsyncGenerator<Buffer, void> {
  yield* pieces;
}

/** Bytes of a file that is kept; longer ones are counted, and stand in the records as empty. */
const keptBytesMax = 64 * 1024 * 1024;

/** Turns events into entries; throws if they come in an order that they may not have. */
export function entryTaker(entries: LayerEntry[], contents: Map<Digest, Buffer>) {
  let file: { entry: TarEntry & { type: 'file' }; pieces: Buffer[]; length: number } | undefined;
  return (event: TarEvent): void => {
    if (event.type === 'entry') {
      if (file !== undefined) throw new Error('an entry comes before the end of a file');
      if (event.entry.type === 'file') file = { entry: event.entry, pieces: [], length: 0 };
      else entries.push(event.entry);
      return;
    }
    if (file === undefined) throw new Error(`${event.type} comes outside of a file`);
    if (event.type !== 'end-of-file') {
      const length = event.type === 'data' ? event.bytes.length : event.length;
      file.length += length;
      if (file.entry.size > keptBytesMax) return;
      file.pieces.push(event.type === 'data' ? event.bytes : Buffer.alloc(length));
      return;
    }
    if (file.length !== file.entry.size) throw new Error('a file has not the size of its entry');
    const bytes = Buffer.concat(file.pieces);
    const content = digestOf(bytes);
    contents.set(content, bytes);
    entries.push({ ...file.entry, content });
    file = undefined;
  };
}
