import type { ContentTable } from '../src/chunk/content-table.js';
import type { Pack } from '../src/chunk/frame.js';
import { isThinError } from '../src/errors.js';
import type { LayerChanges } from '../src/image/layer-entry.js';
import { onceMore } from '../src/once-more.js';
import type { BaseImage } from '../src/thin/base-image.js';
import { packsMax } from '../src/thin/chunk-map-layout.js';
import { convertLayer } from './convert-layer.js';
import { KnownChunks } from './known-chunks.js';
import type { LayerKey } from './layer-index.js';
import type { PackUploads } from './pack-uploads.js';
import type { SourceImage, SourceLayer } from './source-image.js';
import type { Spool } from './spool.js';
import { namedBase, type Target, taggedImage } from './target.js';
import { UsablePacks } from './usable-packs.js';

/** Counted up when the same layer gives other entries or chunks: layers converted before are not used. */
const converterVersion = 1;

export interface LayerOptions {
  readonly spool: Spool;
  readonly level?: number | undefined;
  readonly base?: BaseImage | undefined;
  readonly signal: AbortSignal;
  readonly note: (message: string) => void;
  readonly onProgress: (job: string, done: number, total: number) => void;
}

/** All layers of an image, converted. */
export interface TakenLayers {
  readonly layers: readonly LayerChanges[];
  /** Contents of all layers, and where their chunks are. */
  readonly contents: ContentTable;
  /** What these chunks are in, in an order that does not depend on when each was converted. */
  readonly packs: readonly Pack[];
}

/**
 * Takes the layers of an image one after the other, from the conversion index or by converting them,
 * with their packs on the way to the store.
 */
export async function takeLayers(
  image: SourceImage,
  target: Target,
  uploads: PackUploads,
  options: LayerOptions,
): Promise<TakenLayers> {
  return await new LayerTaker(image, target, uploads, options).run();
}

class LayerTaker {
  readonly #image: SourceImage;
  readonly #target: Target;
  readonly #uploads: PackUploads;
  readonly #options: LayerOptions;
  readonly #usable: UsablePacks;
  readonly #known: KnownChunks;

  constructor(image: SourceImage, target: Target, uploads: PackUploads, options: LayerOptions) {
    this.#image = image;
    this.#target = target;
    this.#uploads = uploads;
    this.#options = options;
    this.#usable = new UsablePacks(target, packsMax - image.layers.length, uploads.signal);
    this.#known = new KnownChunks(this.#usable);
  }

  async run(): Promise<TakenLayers> {
    await this.#findOlder();
    const layers: LayerChanges[] = [];
    for (const [index, layer] of this.#image.layers.entries()) {
      const job = `layer ${index + 1} of ${this.#image.layers.length}`;
      layers.push((await this.#remembered(layer, job)) ?? (await this.#convert(layer, job)));
    }
    const { contents, packs } = this.#known;
    return { layers, contents, packs };
  }

  async #findOlder(): Promise<void> {
    const { store, place, index, repository, tag } = this.#target;
    const { base, signal } = this.#options;
    const { platform } = this.#image;
    this.#known.addOlder(index.packs.finder(place.store));
    if (base) {
      this.#known.addOlder(await namedBase(this.#target, base, platform, signal));
    } else if (tag !== undefined && !index.packs.hasAny(place)) {
      const former = await taggedImage(store, repository, tag, platform, signal);
      if (former) this.#known.addOlder(former);
    }
  }

  /** What is damaged in the index is converted again. */
  async #remembered(layer: SourceLayer, job: string): Promise<LayerChanges | undefined> {
    try {
      return await this.#convertedBefore(layer, job);
    } catch (error) {
      if (!isThinError(error, 'corrupt')) throw error;
      this.#options.note(`${job}: ${error.message}; converting it again`);
      return undefined;
    }
  }

  /** The layer as the index has it, if its packs are still in the store or can be brought there. */
  async #convertedBefore(layer: SourceLayer, job: string): Promise<LayerChanges | undefined> {
    const { place, index } = this.#target;
    for (const remembered of await index.layers.find(place, this.#keyOf(layer))) {
      const { diffId, packs } = remembered;
      if (diffId !== layer.diffId || !(await this.#usable.askAll(packs))) continue;
      this.#options.note(`${job}: converted before`);
      const { entries, files } = await remembered.restore(this.#options.spool.path());
      this.#known.addLayer(files);
      return { diffId, entries };
    }
    return undefined;
  }

  /** Converts the layer; its pack is on the way to the store afterwards. */
  async #convert(source: SourceLayer, job: string): Promise<LayerChanges> {
    const { spool, level, onProgress } = this.#options;
    const attempt = async () => {
      const packPath = spool.path();
      const converted = await convertLayer(source, {
        packPath,
        entriesPath: spool.path(),
        level,
        known: (chunk) => this.#known.find(chunk),
        signal: this.#uploads.signal,
        onProgress: ({ compressedBytes }) =>
          onProgress(job, compressedBytes, source.descriptor.size),
      });
      return { packPath, ...converted };
    };
    const { packPath, layer, pack } = await onceMore(attempt);
    if (pack) this.#usable.add(pack);
    const packs = this.#known.addLayer(layer.files);
    const { place, index } = this.#target;
    const remember = () => index.layers.add(place, this.#keyOf(source), layer, packs);
    await this.#uploads.add({ job, path: packPath, pack, files: layer.files, remember });
    // Not all of it: its files would stay in memory, which are among the known by now.
    return { diffId: layer.diffId, entries: layer.entries };
  }

  #keyOf({ descriptor }: SourceLayer): LayerKey {
    const converter = `${converterVersion} level ${this.#options.level ?? 'default'}`;
    return { layer: descriptor.digest, converter };
  }
}
