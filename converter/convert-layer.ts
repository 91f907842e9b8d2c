import type { Pack } from '../src/chunk/frame.js';
import { type FindKnown, type PackResult, PackWriter } from '../src/chunk/pack-writer.js';
import { type Digest, digestOf } from '../src/digest.js';
import type { LayerEntry, TarEntry } from '../src/image/layer-entry.js';
import { type LayerProgress, type LayerSummary, readLayer } from '../src/layer/read-layer.js';
import type { TarEvent } from '../src/layer/tar-event.js';
import type { ConvertedLayer } from './converted-layer.js';
import { EntriesWriter, type LayerEntries } from './layer-entries.js';
import type { SourceLayer } from './source-image.js';

const emptyContent = digestOf(Buffer.alloc(0));

export interface LayerConversionOptions {
  /** Where the pack is to lie. */
  readonly packPath: string;
  /** The same for the entries. */
  readonly entriesPath: string;
  readonly level?: number | undefined;
  readonly known: FindKnown;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: LayerProgress) => void;
}

export interface LayerConversion {
  readonly layer: ConvertedLayer;
  /** Undefined if it has no new chunk. */
  readonly pack: Pack | undefined;
}

/**
 * Reads a layer once: its entries, and a pack of the chunks that are not known yet.
 * @throws ThinError `corrupt` if it is not what manifest and config promise; then there is no pack
 */
export async function convertLayer(
  source: SourceLayer,
  { packPath: path, entriesPath, level, known, signal, onProgress }: LayerConversionOptions,
): Promise<LayerConversion> {
  const { mediaType, digest, size } = source.descriptor;
  using entriesWriter = EntriesWriter.create(entriesPath);
  const writer = await PackWriter.create({ path, known, signal, ...(level && { level }) });
  try {
    const content = new LayerContent(writer, entriesWriter);
    const events =
      source.events?.(signal, onProgress) ??
      readLayer(source.open(signal), {
        ...{ mediaType, digest, size, diffId: source.diffId },
        reuseBuffers: true, // the writer has copied what it was given when it asks for more
        signal,
        onProgress,
      });
    const { diffId } = await takeAll(events, content);
    const { result, entries } = await content.finish();
    return { layer: { diffId, entries, files: result.files }, pack: result.pack };
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

/** No spread: V8 makes garbage of it that only a full collection finds. */
function withContent(entry: FileEntry, content: Digest): LayerEntry {
  const { path, type, mode, uid, gid, mtime, xattrs, size } = entry;
  return { path, type, mode, uid, gid, mtime, xattrs, size, content };
}

/** An entry that has its turn; empty while the content of its file is not known. */
interface Turn {
  entry: LayerEntry | undefined;
}

/** Writes entries in the order of the archive, with what the pack's writer says of their content. */
class LayerContent {
  readonly #writer: PackWriter;
  readonly #entries: EntriesWriter;
  /** Those behind a file whose content is not known yet, and that: at most a batch of the writer's. */
  readonly #turns: Turn[] = [];
  #lastEnded: Promise<void> = Promise.resolve();
  #file: FileEntry | undefined;

  constructor(writer: PackWriter, entries: EntriesWriter) {
    this.#writer = writer;
    this.#entries = entries;
  }

  async take(event: TarEvent): Promise<void> {
    if (event.type === 'entry') await this.#begin(event.entry);
    else if (this.#file === undefined) return;
    else if (event.type === 'data') await this.#writer.write(event.bytes);
    else if (event.type === 'hole') await this.#writer.hole(event.length);
    else this.#end(this.#file);
  }

  async #begin(entry: TarEntry): Promise<void> {
    if (entry.type !== 'file') this.#add(entry);
    else if (entry.size === 0) this.#add(withContent(entry, emptyContent));
    else {
      this.#file = entry;
      await this.#writer.beginFile(entry.path, entry.size);
    }
  }

  #add(entry: LayerEntry): void {
    if (this.#turns.length === 0) this.#entries.add(entry);
    else this.#turns.push({ entry });
  }

  #end(entry: FileEntry): void {
    this.#file = undefined;
    const turn: Turn = { entry: undefined };
    this.#turns.push(turn);
    const ended = this.#writer.endFile().then(({ content }) => {
      turn.entry = withContent(entry, content);
      this.#takeTurns();
    });
    // A failure is told by the next call of the writer, or in the end.
    ended.catch(() => undefined);
    this.#lastEnded = ended;
  }

  #takeTurns(): void {
    let taken = 0;
    for (const { entry } of this.#turns) {
      if (entry === undefined) break;
      this.#entries.add(entry);
      taken += 1;
    }
    this.#turns.splice(0, taken);
  }

  async finish(): Promise<{ result: PackResult; entries: LayerEntries }> {
    const result = await this.#writer.finish();
    await this.#lastEnded;
    return { result, entries: this.#entries.finish() };
  }
}
