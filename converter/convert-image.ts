import type { FileChunks, Frame } from '../src/chunk/frame.js';
import { type Digest, digestOf } from '../src/digest.js';
import { ThinError } from '../src/errors.js';
import type { DirectoryNode } from '../src/image/tree.js';
import { writeErofs } from '../src/metadata/erofs-writer.js';
import { mergeLayers } from '../src/metadata/merge.js';
import { onceMore } from '../src/once-more.js';
import { encodeChunkMap } from '../src/thin/chunk-map-encoder.js';
import { type PublishedThinImage, publishThinImage } from '../src/thin/publish-thin-image.js';
import { convertLayer } from './convert-layer.js';
import { KnownChunks } from './known-chunks.js';
import type { ConvertedLayer } from './layer-record.js';
import { PackUploads } from './pack-uploads.js';
import type { SourceImage, SourceLayer } from './source-image.js';
import type { Spool } from './spool.js';
import { namedBase, presentPacks, type Target, taggedImage } from './target.js';

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
  const known = await knownChunks(image, target, options);
  const uploads = new PackUploads(target, options.signal, options.onProgress);
  const layers: ConvertedLayer[] = [];
  try {
    for (const [index, layer] of image.layers.entries()) {
      const job = `layer ${index + 1} of ${image.layers.length}`;
      layers.push(await takeLayer(layer, job, known, uploads, target, options));
    }
    await uploads.finish();
  } finally {
    await uploads.stop();
  }
  const root = mergeLayers(layers);
  const files = filesOf(root, layers);
  const packs = known.packsOf(files);
  const metadata = writeErofs(root);
  const chunkMap = encodeChunkMap({ files, packs });
  const { listed, newBytes } = await publishThinImage(
    target.store,
    {
      repository: target.repository,
      manifest: image.manifest,
      config: image.config,
      platform: image.platform,
      metadata,
      chunkMap,
      packs,
    },
    options.signal,
  );
  return summary(listed, files, uploads.sentBytes + newBytes, uploads.sent);
}

async function knownChunks(
  image: SourceImage,
  target: Target,
  { base, signal }: ConvertOptions,
): Promise<KnownChunks> {
  const known = new KnownChunks();
  const packs = await presentPacks(target, signal);
  const present = new Set(packs.map(({ digest }) => digest));
  known.addOlder(target.index.chunkFinder(target.key, present), packs);
  if (base) {
    const named = await namedBase(target, base, image.platform, signal);
    known.addOlder(named.find, named.packs);
  } else if (packs.length === 0 && target.tag !== undefined) {
    const { store, repository, tag } = target;
    const former = await taggedImage(store, repository, tag, image.platform, signal);
    if (former) known.addOlder(former.find, former.packs);
  }
  return known;
}

/** A layer from the index, or converted with its pack on the way to the store. */
async function takeLayer(
  layer: SourceLayer,
  job: string,
  known: KnownChunks,
  uploads: PackUploads,
  { key, index }: Target,
  options: ConvertOptions,
): Promise<ConvertedLayer> {
  const { digest, size } = layer.descriptor;
  const converter = `${converterVersion} level ${options.level ?? 'default'}`;
  const before = await index.layer(key, digest, converter);
  if (before && before.diffId === layer.diffId && known.hasPacksOf(before.files)) {
    options.note(`${job}: converted before`);
    known.addLayer(before.files, undefined);
    return before;
  }
  const path = options.spool.path();
  const convert = () =>
    convertLayer(layer, {
      path,
      level: options.level,
      known: (chunk) => known.find(chunk),
      signal: uploads.signal,
      onProgress: ({ compressedBytes }) => options.onProgress(job, compressedBytes, size),
    });
  const { layer: converted, result } = await onceMore(convert);
  known.addLayer(converted.files, result.pack);
  const remember = () => index.addLayer(key, digest, converter, converted);
  await uploads.add({ job, path, pack: result.pack, files: result.files, remember });
  return converted;
}

/** The files that the image shows, each content once, in the order of the layers. */
function filesOf(root: DirectoryNode, layers: readonly ConvertedLayer[]): FileChunks[] {
  const shown = contentsOf(root);
  const files = new Map<Digest, FileChunks>();
  for (const layer of layers) {
    for (const file of layer.files) {
      if (shown.has(file.content) && !files.has(file.content)) files.set(file.content, file);
    }
  }
  const missing = [...shown].find((content) => !files.has(content));
  if (missing === undefined) return [...files.values()];
  throw new ThinError(
    'corrupt',
    `Cannot publish image: content ${missing} is in none of its layers`,
  );
}

const emptyContent = digestOf(Buffer.alloc(0));

function contentsOf(root: DirectoryNode): Set<Digest> {
  const contents = new Set<Digest>();
  const waiting = [root];
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    for (const node of at.children.values()) {
      if (node.type === 'directory') waiting.push(node);
      else if (node.type === 'file' && node.content !== emptyContent) contents.add(node.content);
    }
  }
  return contents;
}

function summary(
  published: PublishedThinImage['listed'],
  files: readonly FileChunks[],
  bytesUploaded: number,
  sent: ReadonlySet<Digest>,
): ConvertedImage {
  const sum = (numbers: readonly number[]) => numbers.reduce((total, one) => total + one, 0);
  const chunks = new Set(files.flatMap((file) => file.chunks.map(({ digest }) => digest)));
  const frames = new Map<string, Frame>();
  for (const { frame } of files.flatMap((file) => file.chunks)) {
    frames.set(`${frame.pack} ${frame.offset}`, frame);
  }
  const reused = [...frames.values()].filter(({ pack }) => !sent.has(pack));
  return {
    published,
    files: files.length,
    chunks: chunks.size,
    plainBytes: sum(files.map(({ size }) => size)),
    bytesUploaded,
    bytesReused: sum(reused.map(({ length }) => length)),
    publishedBytes: sum([...frames.values()].map(({ length }) => length)),
  };
}
