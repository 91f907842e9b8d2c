import { byteStringFromText } from '../byte-string.js';
import type { FileCache } from '../cache/file-cache.js';
import type { FileOrigin, FileRef } from '../cache/file-origin.js';
import type { CompletionOptions, CompletionProgress } from '../cache/image-completion.js';
import type { PartialView } from '../cache/partial-view.js';
import type { RangePrefetch } from '../cache/range-prefetch.js';
import { VerifiedFrame } from '../cache/verified-frame.js';
import type { Frame } from '../chunk/frame.js';
import { type Digest, parseDigest } from '../digest.js';
import { isThinError, ThinError } from '../errors.js';
import type { FileColumns } from '../file-columns.js';
import { type ImageConfig, parseImageConfig } from '../image/image-config.js';
import { ErofsImage } from '../metadata/erofs-image.js';
import { resolvePath } from '../metadata/resolve-path.js';
import type { CountedFrameSource } from '../store/frame-source.js';
import { ChunkMap } from '../thin/chunk-map.js';
import type { HotCommand } from '../thin/hot-index.js';
import type { HotOverlay } from '../thin/hot-overlay.js';
import type { LoadedThinImage } from '../thin/load-thin-image.js';
import { DeltaFrames } from './delta-frames.js';
import { type FurtherPacks, HotPlaces } from './hot-places.js';
import type { ImageArrivals } from './image-arrivals.js';
import type { ImageFolder, ImageRecord } from './image-folder.js';

/** Bytes of one read of a file for ourselves. */
const pieceBytes = 1024 * 1024;

export interface LiveImageSettings {
  readonly furtherPacks: FurtherPacks;
  /** Whether more is fetched than is asked for. */
  readonly readsAhead: boolean;
  /** Pulled images that are used while they come. */
  readonly arrivals: Arrivals;
  /** What is in memory of it, verified: the rest is read. */
  readonly loaded?: LoadedImage | undefined;
}

/** Of a thin image. */
export type LoadedImage = Pick<LoadedThinImage, 'metadata' | 'chunkMap'>;

type Arrivals = Pick<ImageArrivals, 'arrives' | 'trouble'>;

/** Where frames come from. @param packSize bytes of a pack; undefined for one that is not known */
export type OpenFrames = (packSize: (pack: Digest) => number | undefined) => CountedFrameSource;

type OnBeside = (file: FileRef) => void;

/** An image of this node, opened: its tree, and its files through the cache. */
export class LiveImage {
  readonly record: ImageRecord;
  readonly manifest: Digest;
  readonly config: ImageConfig;
  /** In shared memory, so that the threads that answer mounts need no copy. */
  readonly metadata: Buffer;
  readonly tree: ErofsImage;
  readonly #cache: FileCache;
  readonly #origin: FileOrigin;
  /** The same, of which nothing is urgent. */
  readonly #quietOrigin: FileOrigin;
  readonly #hot: HotPlaces | undefined;
  readonly #learners: Set<OnBeside>;
  /** The same that the tree has, where something else tells it faster. */
  readonly #listed: ChunkMap | undefined;

  private constructor(
    record: ImageRecord,
    files: { config: Buffer; metadata: Buffer },
    cache: FileCache,
    origin: FileOrigin,
    hot: HotPlaces | undefined,
    learners: Set<OnBeside>,
    listed: ChunkMap | undefined,
  ) {
    this.record = record;
    this.manifest = parseDigest(record.manifest);
    this.config = parseImageConfig(files.config);
    this.metadata = Buffer.from(new SharedArrayBuffer(files.metadata.length));
    files.metadata.copy(this.metadata);
    this.tree = ErofsImage.parse(this.metadata);
    this.#cache = cache;
    this.#origin = origin;
    const { framesAround: _, ...quiet } = origin;
    this.#quietOrigin = { ...quiet, background: true };
    this.#hot = hot;
    this.#learners = learners;
    this.#listed = listed;
  }

  static async open(
    images: ImageFolder,
    manifest: Digest,
    cache: FileCache,
    openFrames: OpenFrames,
    { furtherPacks, readsAhead, arrivals, loaded }: LiveImageSettings,
  ): Promise<LiveImage> {
    const record = images.get(manifest);
    if (!record) throw new ThinError('not-found', `Cannot open image ${manifest}: it is not here`);
    const config = await images.read(manifest, 'config');
    const metadata = loaded?.metadata ?? (await images.read(manifest, 'metadata'));
    const files = { config, metadata };
    const learners = new Set<OnBeside>();
    if (record.kind !== 'thin') {
      const origin = pulledOrigin(manifest, arrivals);
      return new LiveImage(record, files, cache, origin, undefined, learners, undefined);
    }
    const map = loaded?.chunkMap ?? ChunkMap.parse(await images.read(manifest, 'chunkMap'));
    const hot = new HotPlaces(map, furtherPacks, cache.nearChunks);
    const isLearning = () => learners.size > 0;
    const beside = (file: FileRef) => {
      for (const learner of learners) learner(file);
    };
    const origin = {
      ...{ ...thinOrigin(record, map, hot, openFrames, isLearning), beside },
      ...(readsAhead && { framesAround: map.framesAround.bind(map) }),
    };
    return new LiveImage(record, files, cache, origin, hot, learners, map);
  }

  readonly readFile = (
    content: Digest,
    size: number,
    offset: number,
    length: number,
    signal: AbortSignal,
  ): Promise<Buffer> => this.#cache.read({ content, size }, offset, length, this.#origin, signal);

  /** The same for somebody who does not keep a program waiting. */
  readAhead(file: FileRef, offset: number, length: number, signal: AbortSignal): Promise<Buffer> {
    return this.#cache.read(file, offset, length, this.#quietOrigin, signal);
  }

  /** What other threads may read of a file that is being filled, if it is. */
  partialView(file: FileRef): PartialView | undefined {
    return this.#cache.partialView(file, this.#origin);
  }

  /** The regular file at a path, following symlinks inside the image. */
  openPath(path: string, signal: AbortSignal): { size: number; bytes: AsyncIterable<Buffer> } {
    const nid = resolvePath(this.tree, path as ReturnType<typeof byteStringFromText>, {
      followLast: true,
    });
    const inode = this.tree.inode(nid);
    if (inode.type !== 'file') {
      throw new ThinError('invalid', `Cannot read ${path}: it is a ${inode.type} (wanted a file)`);
    }
    const { content, size } = inode;
    return { size, bytes: content && size > 0 ? this.#pieces(content, size, signal) : nothing() };
  }

  /** The content of the regular file at a path; undefined if there is none, or it is empty. */
  findFile(path: string): FileRef | undefined {
    try {
      const nid = resolvePath(this.tree, byteStringFromText(path), { followLast: true });
      const { type, content, size } = this.tree.inode(nid);
      return type === 'file' && content && size > 0 ? { content, size } : undefined;
    } catch (error) {
      if (isThinError(error, 'not-found', 'invalid')) return undefined;
      throw error;
    }
  }

  /** As `writeBundle` wants it. */
  async readSmallFile(
    path: string,
    bytesMax: number,
    signal: AbortSignal,
  ): Promise<Buffer | undefined> {
    try {
      const { size, bytes } = this.openPath(byteStringFromText(path), signal);
      if (size > bytesMax) {
        throw new ThinError('corrupt', `Cannot use the image's ${path}: it has ${size} bytes`);
      }
      const pieces: Buffer[] = [];
      for await (const piece of bytes) pieces.push(piece);
      return Buffer.concat(pieces);
    } catch (error) {
      if (isThinError(error, 'not-found', 'invalid')) return undefined;
      throw error;
    }
  }

  /** Brings what is missing of it, behind everything that somebody waits for. */
  complete(options: Omit<CompletionOptions, 'files' | 'origin'>): Promise<CompletionProgress> {
    return this.#cache.completeImage({ ...options, files: this.files(), origin: this.#origin });
  }

  /** Brings parts of it ahead of who reads them; undefined for an image that was pulled in full. */
  prefetch(signal: AbortSignal): RangePrefetch | undefined {
    if (this.record.kind !== 'thin') return undefined;
    return this.#cache.prefetch({ origin: this.#origin, signal });
  }

  /**
   * Every first read is seen from now on, also of what came beside something else, until the function
   * that it returns is called.
   * @param onBeside told of files that were brought because something else was read: their reads are not seen
   */
  learn(onBeside: OnBeside): () => Promise<void> {
    const learner: OnBeside = (file) => onBeside(file);
    this.#learners.add(learner);
    return async () => {
      this.#learners.delete(learner);
      if (this.#learners.size === 0) await this.#cache.keepLearned(this.#origin);
    };
  }

  /** From now on its chunks come from a hot pack, where that has them. */
  async useHotPack(command: HotCommand): Promise<HotOverlay | undefined> {
    return await this.#hot?.use(command);
  }

  /** Every distinct content of the tree that has bytes. */
  files(): Iterable<FileRef> {
    return this.#listed?.files() ?? this.#filesOfTree();
  }

  /** The same, as columns where it is known as such. */
  fileColumns(): Iterable<FileRef> | FileColumns {
    return this.#listed?.fileColumns() ?? this.#filesOfTree();
  }

  *#filesOfTree(): Generator<FileRef> {
    const seen = new Set<Digest>();
    const folders = [this.tree.rootNid];
    for (let at = folders.pop(); at !== undefined; at = folders.pop()) {
      for (const { name, nid, type } of this.tree.readdir(at)) {
        if (name === '.' || name === '..') continue;
        if (type === 'directory') folders.push(nid);
        if (type !== 'file') continue;
        const { content, size } = this.tree.inode(nid);
        if (content === undefined || size === 0 || seen.has(content)) continue;
        seen.add(content);
        yield { content, size };
      }
    }
  }

  async *#pieces(content: Digest, size: number, signal: AbortSignal): AsyncGenerator<Buffer> {
    for (let offset = 0; offset < size; offset += pieceBytes) {
      yield await this.readFile(content, size, offset, Math.min(pieceBytes, size - offset), signal);
    }
  }
}

async function* nothing(): AsyncGenerator<Buffer> {}

function thinOrigin(
  record: ImageRecord,
  map: ChunkMap,
  hot: HotPlaces,
  openFrames: OpenFrames,
  isLearning: () => boolean,
): FileOrigin {
  const frames = new DeltaFrames(openFrames(packSizes(map)), hot);
  const placementsIn = (frame: Frame) =>
    hot.current?.placementsIn(frame) ?? map.placementsIn(frame);
  // Of a frame in which the image places nothing, nothing is known: it is taken from the origin alone.
  const checkOf = (frame: Frame) => {
    const placements = placementsIn(frame);
    if (placements.length === 0) return undefined;
    return (plain: Buffer) => new VerifiedFrame(plain, placements).sound;
  };
  return {
    id: record.digests.chunkMap ?? record.manifest,
    chunksOf: (content) => map.chunksOf(content),
    placementsIn,
    fetchFrame: (frame, signal, options) =>
      frames.fetchFrame(frame, signal, {
        fresh: options?.fresh,
        isSound: checkOf(frame),
        get background() {
          return options?.background;
        },
      }),
    fetchRun: (run, signal, options) =>
      frames.fetchRun(run, signal, {
        ...{ onFrame: options.onFrame, checkOf },
        get background() {
          return options.background;
        },
      }),
    link: () => frames.link(),
    isLearning,
    nearer: (chunk) => hot.current?.nearer(chunk),
    forsake: (frame) => hot.current?.forsake(frame),
    trouble: () => frames.trouble(),
  };
}

/** A function of its own: what it returns outlives the chunk map, and must not keep it in memory. */
function packSizes({ packs }: ChunkMap): (pack: Digest) => number | undefined {
  const sizes = new Map(packs.map(({ digest, size }) => [digest, size]));
  return (pack) => sizes.get(pack);
}

/** Everything is in the cache, pinned, or on its way; what is gone nevertheless needs another pull. */
function pulledOrigin(manifest: Digest, arrivals: Arrivals): FileOrigin {
  return {
    id: manifest,
    arrives: (file, signal) => arrivals.arrives(manifest, file, signal),
    trouble: () => arrivals.trouble(manifest),
    chunksOf: () => undefined,
    placementsIn: () => [],
    fetchFrame: () => {
      throw new ThinError('not-found', 'Cannot fetch a frame of an image that has none');
    },
  };
}
