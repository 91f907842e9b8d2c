import type { FileCache } from '../cache/file-cache.js';
import type { FileRef } from '../cache/file-origin.js';
import type { FileHold } from '../cache/file-use.js';
import type { FileWriter } from '../cache/file-writer.js';
import { digestOf } from '../digest.js';
import type { LayerEntry, LayerRecord, TarEntry } from '../image/layer-entry.js';
import { type LayerSummary, type ReadLayerOptions, readLayer } from '../layer/read-layer.js';
import type { TarEvent } from '../layer/tar-event.js';

/** Files of one layer that get their names at the same time; each holds at most 1 MiB of memory. */
const commitsInFlight = 16;

/** Empty files need no file in the cache. */
const emptyContent = digestOf(Buffer.alloc(0));

type FileEntry = Extract<TarEntry, { type: 'file' }>;

/** A layer whose files are in the cache, held there, and part of no image yet. */
export interface StoredLayer extends LayerRecord, LayerSummary {}

/**
 * Reads a layer once, and puts its files into the cache as they come: memory does not grow with it.
 * @throws ThinError as {@link readLayer} does; `no-space` if the cache has no room. Files that were
 *   stored until then are held by nothing but `hold`.
 */
export async function storeLayer(
  source: AsyncIterable<Buffer>,
  options: ReadLayerOptions,
  cache: FileCache,
  hold: FileHold,
): Promise<StoredLayer> {
  const files = new LayerFiles(() => cache.fileWriter(hold));
  const events = readLayer(source, options);
  try {
    let result = await events.next();
    for (; result.done !== true; result = await events.next()) {
      for (const event of result.value) await files.take(event);
    }
    return { ...result.value, entries: await files.finish() };
  } catch (error) {
    await events.throw(error).catch(() => undefined); // ends its stages
    await files.abort();
    throw error;
  }
}

/** Turns a layer's events into entries, with the bytes of its files put into the cache. */
class LayerFiles {
  readonly #openWriter: () => FileWriter;
  /** In the order of the archive; a file's place is empty until it was stored. */
  readonly #entries: (LayerEntry | undefined)[] = [];
  readonly #commits = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;
  #current: { readonly entry: FileEntry; readonly writer: FileWriter } | undefined;

  constructor(openWriter: () => FileWriter) {
    this.#openWriter = openWriter;
  }

  async take(event: TarEvent): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure.error;
    if (event.type === 'entry') this.#begin(event.entry);
    else if (event.type === 'data') await this.#current?.writer.write(event.bytes);
    else if (event.type === 'hole') await this.#current?.writer.hole(event.length);
    else await this.#commit();
  }

  #begin(entry: TarEntry): void {
    if (entry.type !== 'file') this.#entries.push(entry);
    else if (entry.size === 0) this.#entries.push({ ...entry, content: emptyContent });
    else this.#current = { entry, writer: this.#openWriter() };
  }

  /** Storing many small files is waiting for the disk many times: some wait together. */
  async #commit(): Promise<void> {
    const file = this.#current;
    this.#current = undefined;
    if (file === undefined) return;
    const place = this.#entries.push(undefined) - 1;
    const commit = file.writer
      .commit()
      .then(({ content }: FileRef) => {
        this.#entries[place] = { ...file.entry, content };
      })
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => this.#commits.delete(commit));
    this.#commits.add(commit);
    if (this.#commits.size >= commitsInFlight) await Promise.race(this.#commits);
  }

  async finish(): Promise<LayerEntry[]> {
    await Promise.all(this.#commits);
    if (this.#failure !== undefined) throw this.#failure.error;
    return this.#entries.filter((entry) => entry !== undefined);
  }

  async abort(): Promise<void> {
    await this.#current?.writer.abort();
    await Promise.all(this.#commits);
  }
}
