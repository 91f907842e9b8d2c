import type { Chunk } from '../src/chunk/frame.js';
import { type PackResult, PackWriter } from '../src/chunk/pack-writer.js';
import { type Digest, digestOf } from '../src/digest.js';
import type { LayerEntry, TarEntry } from '../src/image/layer-entry.js';
import { type LayerProgress, type LayerSummary, readLayer } from '../src/layer/read-layer.js';
import type { TarEvent } from '../src/layer/tar-event.js';
import type { ConvertedLayer } from './layer-record.js';
import type { SourceLayer } from './source-image.js';

const emptyContent = digestOf(Buffer.alloc(0));

export interface LayerOptions {
  /** Where the pack is to lie. */
  readonly path: string;
  readonly level?: number | undefined;
  readonly known: (digest: Digest) => Chunk | undefined;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: LayerProgress) => void;
}

export interface LayerConversion {
  readonly layer: ConvertedLayer;
  readonly result: PackResult;
}

/**
 * Reads a layer once: its entries, and a pack of the chunks that are not known yet.
 * @throws ThinError `corrupt` if it is not what manifest and config promise; then there is no pack
 */
export async function convertLayer(
  source: SourceLayer,
  { path, level, known, signal, onProgress }: LayerOptions,
): Promise<LayerConversion> {
  const { mediaType, digest, size } = source.descriptor;
  const writer = await PackWriter.create({ path, known, signal, ...(level && { level }) });
  try {
    const content = new LayerContent(writer);
    const options = { mediaType, digest, size, diffId: source.diffId, signal, onProgress };
    const events = readLayer(source.open(signal), options);
    const { diffId } = await takeAll(events, content);
    const { result, entries } = await content.finish();
    return { layer: { diffId, entries, files: result.files }, result };
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

async function takeAll(
  events: AsyncGenerator<TarEvent[], LayerSummary>,
  content: LayerContent,
): Promise<LayerSummary> {
  try {
    let next = await events.next();
    for (; next.done !== true; next = await events.next()) {
      for (const event of next.value) await content.take(event);
    }
    return next.value;
  } catch (error) {
    await events.throw(error).catch(() => undefined); // ends its stages
    throw error;
  }
}

type FileEntry = Extract<TarEntry, { type: 'file' }>;

/** Entries in the order of the archive, with what the writer says of their content. */
class LayerContent {
  readonly #writer: PackWriter;
  /** The place of a file is empty until its content is known. */
  readonly #entries: (LayerEntry | undefined)[] = [];
  readonly #ended: Promise<void>[] = [];
  #file: FileEntry | undefined;

  constructor(writer: PackWriter) {
    this.#writer = writer;
  }

  async take(event: TarEvent): Promise<void> {
    if (event.type === 'entry') await this.#begin(event.entry);
    else if (this.#file === undefined) return;
    else if (event.type === 'data') await this.#writer.write(event.bytes);
    else if (event.type === 'hole') await this.#writer.hole(event.length);
    else this.#end(this.#file);
  }

  async #begin(entry: TarEntry): Promise<void> {
    if (entry.type !== 'file') this.#entries.push(entry);
    else if (entry.size === 0) this.#entries.push({ ...entry, content: emptyContent });
    else {
      this.#file = entry;
      await this.#writer.beginFile(entry.path, entry.size);
    }
  }

  #end(entry: FileEntry): void {
    this.#file = undefined;
    const place = this.#entries.push(undefined) - 1;
    const ended = this.#writer.endFile().then(({ content }) => {
      this.#entries[place] = { ...entry, content };
    });
    // A failure is told by the next call of the writer.
    ended.catch(() => undefined);
    this.#ended.push(ended);
  }

  async finish(): Promise<{ result: PackResult; entries: LayerEntry[] }> {
    const result = await this.#writer.finish();
    await Promise.all(this.#ended);
    return { result, entries: this.#entries.filter((entry) => entry !== undefined) };
  }
}
