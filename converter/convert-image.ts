import type { ContentTable } from '../src/chunk/content-table.js';
import type { FileChunks } from '../src/chunk/frame.js';
import { type Digest, digestOf } from '../src/digest.js';
import { ThinError } from '../src/errors.js';
import type { LayerChanges } from '../src/image/layer-entry.js';
import type { DirectoryNode } from '../src/image/tree.js';
import { writeErofs } from '../src/metadata/erofs-writer.js';
import { mergeLayers } from '../src/metadata/merge.js';
import { ChunkMap } from '../src/thin/chunk-map.js';
import { encodeChunkMap } from '../src/thin/chunk-map-encoder.js';
import { packsMax } from '../src/thin/chunk-map-layout.js';
import {
  type NewThinImage,
  type PublishedThinImage,
  publishThinImage,
} from '../src/thin/publish-thin-image.js';
import { convertLayer } from './convert-layer.js';
import type { ConvertedLayer } from './converted-layer.js';
import { KnownChunks } from './known-chunks.js';
import type { LayerKey } from './layer-index.js';
import { PackUploads } from './pack-uploads.js';
import type { SourceImage, SourceLayer } from './source-image.js';
import type { Spool } from './spool.js';
import { namedBase, type Target, taggedImage } from './target.js';
import { UsablePacks } from './usable-packs.js';

/** Counted up when the same layer gives other entries or chunks: layers converted before are not used. */
const converterVersion = 1;

export interface ConvertOptions {
  readonly spool: Spool;
  readonly level?: number | undefined;
  readonly base?: { readonly repository: string; readonly tag: string } | undefined;
  readonly signal: AbortSignal;
  readonly note: (message: string) => void;
  readonly onProgress: (job: string, done: number, total: number) => void;
}

export interface ConvertedImage {
  readonly published: PublishedThinImage['listed'];
  readonly files: number;
  readonly chunks: number;
  /** Plain bytes of all files of the image's tree. */
  readonly plainBytes: number;
  readonly bytesUploaded: number;
  /** Bytes on the wire of frames that the store had already. */
  readonly bytesReused: number;
  /** Bytes of the frames that the image's files are in: what all of it costs on the wire. */
  readonly publishedBytes: number;
}

/**
 * Converts one platform's image and publishes it: packs first, and what makes it visible last. Rows
 * of the conversion index follow what they speak of.
 * @throws ThinError; whatever happens, nothing is published but the whole
 */
export async function convertImage(
  image: SourceImage,
  target: Target,
  options: ConvertOptions,
): Promise<ConvertedImage> {
  const uploads = new PackUploads(target, options.signal, options.onProgress);
  let content: ImageParts;
  try {
    const conversion = new ImageConversion(image, target, uploads, options);
    content = await conversion.run();
    await uploads.finish();
  } finally {
    await uploads.stop();
  }
  const { listed, newBytes } = await publishThinImage(
    target.store,
    {
      repository: target.repository,
      manifest: image.manifest,
      config: image.config,
      platform: image.platform,
      ...content,
    },
    options.signal,
  );
  const bytesUploaded = uploads.sentBytes + newBytes;
  return { published: listed, bytesUploaded, ...sumOf(content.chunkMap, uploads.sent) };
}

type ImageParts = Pick<NewThinImage, 'metadata' | 'chunkMap' | 'packs'>;

/** Takes the layers one after the other, and puts them together. */
class ImageConversion {
  readonly #image: SourceImage;
  readonly #target: Target;
  readonly #uploads: PackUploads;
  readonly #options: ConvertOptions;
  readonly #usable: UsablePacks;
  readonly #known: KnownChunks;

  constructor(image: SourceImage, target: Target, uploads: PackUploads, options: ConvertOptions) {
    this.#image = image;
    this.#target = target;
    this.#uploads = uploads;
    this.#options = options;
    this.#usable = new UsablePacks(target, packsMax - image.layers.length, uploads.signal);
    this.#known = new KnownChunks(this.#usable);
  }

  async run(): Promise<ImageParts> {
    await this.#findOlder();
    const layers: LayerChanges[] = [];
    for (const [index, layer] of this.#image.layers.entries()) {
      const job = `layer ${index + 1} of ${this.#image.layers.length}`;
      layers.push((await this.#convertedBefore(layer, job)) ?? (await this.#convert(layer, job)));
    }
    const root = mergeLayers(layers);
    const files = shownFiles(root, this.#known.contents);
    const { packs } = this.#known;
    return { metadata: writeErofs(root), chunkMap: encodeChunkMap({ files, packs }), packs };
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

  /** The layer as the index has it, if its packs are still in the store or can be brought there. */
  async #convertedBefore(layer: SourceLayer, job: string): Promise<ConvertedLayer | undefined> {
    const { place, index } = this.#target;
    for (const remembered of await index.layers.find(place, this.#keyOf(layer))) {
      const { diffId, packs } = remembered;
      if (diffId !== layer.diffId || !(await this.#usable.askAll(packs))) continue;
      this.#options.note(`${job}: converted before`);
      const restored = await remembered.restore(this.#options.spool.path());
      this.#known.addLayer(restored.files);
      return restored;
    }
    return undefined;
  }

  /** Converts the layer; its pack is on the way to the store afterwards. */
  async #convert(source: SourceLayer, job: string): Promise<ConvertedLayer> {
    const { spool, level, onProgress } = this.#options;
    const packPath = spool.path();
    const { layer, pack } = await convertLayer(source, {
      packPath,
      entriesPath: spool.path(),
      level,
      known: (chunk) => this.#known.find(chunk),
      signal: this.#uploads.signal,
      onProgress: ({ compressedBytes }) => onProgress(job, compressedBytes, source.descriptor.size),
    });
    if (pack) this.#usable.add(pack);
    const packs = this.#known.addLayer(layer.files);
    const { place, index } = this.#target;
    const remember = () => index.layers.add(place, this.#keyOf(source), layer, packs);
    await this.#uploads.add({ job, path: packPath, pack, files: layer.files, remember });
    return layer;
  }

  #keyOf({ descriptor }: SourceLayer): LayerKey {
    const converter = `${converterVersion} level ${this.#options.level ?? 'default'}`;
    return { layer: descriptor.digest, converter };
  }
}

/** The files that the image shows, each content once, in the order of the layers. */
function shownFiles(root: DirectoryNode, contents: ContentTable): Iterable<FileChunks> {
  const shown = new Uint8Array(contents.fileCount);
  for (const content of contentsOf(root)) {
    const row = contents.findFile(content);
    if (row < 0) {
      throw new ThinError(
        'corrupt',
        `Cannot publish image: content ${content} is in none of its layers`,
      );
    }
    shown[row] = 1;
  }
  return {
    *[Symbol.iterator]() {
      for (const [row, isShown] of shown.entries()) if (isShown) yield contents.fileAt(row);
    },
  };
}

const emptyContent = digestOf(Buffer.alloc(0));

function* contentsOf(root: DirectoryNode): Generator<Digest, void> {
  const waiting = [root];
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    for (const node of at.children.values()) {
      if (node.type === 'directory') waiting.push(node);
      else if (node.type === 'file' && node.content !== emptyContent) yield node.content;
    }
  }
}

/** What the image is made of. @param sent packs that the store did not have */
function sumOf(chunkMap: Buffer, sent: ReadonlySet<Digest>) {
  const map = ChunkMap.parse(chunkMap);
  const sums = { files: 0, plainBytes: 0, bytesReused: 0, publishedBytes: 0 };
  for (const { size } of map.files()) {
    sums.files += 1;
    sums.plainBytes += size;
  }
  for (const { pack, length } of map.frames()) {
    sums.publishedBytes += length;
    if (!sent.has(pack)) sums.bytesReused += length;
  }
  return { ...sums, chunks: map.chunkCount };
}
