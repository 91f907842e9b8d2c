import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { type ByteString, displayByteString } from '../src/byte-string.js';
import { decodeFrame } from '../src/chunk/codec.js';
import type { Chunk, Frame, Pack } from '../src/chunk/frame.js';
import { type Digest, digestOf } from '../src/digest.js';
import { describeError, isThinError } from '../src/errors.js';
import { ErofsImage } from '../src/metadata/erofs-image.js';
import { TreeReader, walkImage } from '../src/metadata/tree-reader.js';
import { openVerified } from '../src/store/byte-stream.js';
import { type FrameSource, frameSource } from '../src/store/frame-source.js';
import type { Store } from '../src/store/store.js';
import type { ChunkMap } from '../src/thin/chunk-map.js';
import type { FoundThinImage } from '../src/thin/find-thin-image.js';
import { loadThinImage } from '../src/thin/load-thin-image.js';
import { FrameCutter } from './frame-cutter.js';

export interface VerifyOptions {
  readonly signal: AbortSignal;
  readonly onProgress: (job: string, done: number, total: number) => void;
  /** Told of each thing that is wrong. */
  readonly onProblem: (problem: string) => void;
}

export interface Verified {
  readonly problems: number;
  readonly inodes: number;
  readonly files: number;
  readonly bytes: number;
}

/** A content of the image, and the first path that has it. */
interface ShownFile {
  readonly path: ByteString;
  readonly size: number;
}

/** Frames that are kept decoded for the next chunks of a file. */
const framesKept = 64;

/**
 * Fetches and checks everything of a thin image: manifest, descriptor, metadata and chunk map, every
 * inode, every byte of every pack, every chunk, and every file as a whole.
 * @throws ThinError if the store cannot be read; what is wrong with the image itself is a problem
 */
export async function verifyImage(
  store: Store,
  found: FoundThinImage,
  options: VerifyOptions,
): Promise<Verified> {
  const verification = new Verification(store, options);
  return await verification.run(found);
}

class Verification {
  readonly #store: Store;
  readonly #options: VerifyOptions;
  #problems = 0;
  #inodes = 0;
  #bytes = 0;

  constructor(store: Store, options: VerifyOptions) {
    this.#store = store;
    this.#options = options;
  }

  async run({ descriptor }: FoundThinImage): Promise<Verified> {
    let files = new Map<Digest, ShownFile>();
    await this.#check('metadata or chunk map', async () => {
      const loaded = await loadThinImage(this.#store, descriptor, this.#options.signal);
      files = this.#walk(ErofsImage.parse(loaded.metadata));
      const { chunkMap } = loaded;
      this.#checkLists(files, chunkMap);
      const frames = framesByPack(chunkMap);
      for (const pack of descriptor.packs) {
        const cutter = new FrameCutter(frames.get(pack.digest) ?? []);
        await this.#check(`pack ${pack.digest}`, () =>
          this.#checkPack(pack, cutter, chunkMap, files),
        );
      }
      await this.#checkFiles(files, chunkMap);
    });
    const [problems, inodes, bytes] = [this.#problems, this.#inodes, this.#bytes];
    return { problems, inodes, files: files.size, bytes };
  }

  /** What the bytes are to blame for is a problem; that a store cannot be reached is not. */
  async #check(what: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!isThinError(error, 'corrupt', 'invalid', 'not-found')) throw error;
      this.#problem(`${what}: ${describeError(error)}`);
    }
  }

  #problem(text: string): void {
    this.#problems += 1;
    this.#options.onProblem(text);
  }

  #walk(image: ErofsImage): Map<Digest, ShownFile> {
    const files = new Map<Digest, ShownFile>();
    const reader = new TreeReader(image);
    for (const { nid, path } of walkImage(image, reader)) {
      const inode = image.inode(nid);
      this.#inodes += 1;
      reader.xattrs(nid);
      if (inode.type === 'symlink') image.readlink(nid);
      if (inode.content === undefined || inode.size === 0) continue;
      const known = files.get(inode.content);
      if (!known) files.set(inode.content, { path, size: inode.size });
      else if (known.size !== inode.size) this.#problem(`${shown(path)}: two sizes of its content`);
    }
    return files;
  }

  #checkLists(files: ReadonlyMap<Digest, ShownFile>, chunkMap: ChunkMap): void {
    for (const [content, { path, size }] of files) {
      const chunks = chunkMap.chunksOf(content);
      const sum = chunks?.reduce((total, { length }) => total + length, 0);
      if (sum === undefined) this.#problem(`${shown(path)}: no chunks of its content ${content}`);
      else if (sum !== size)
        this.#problem(`${shown(path)}: chunks of ${sum} bytes (wanted ${size})`);
    }
  }

  async #checkPack(
    pack: Pack,
    cutter: FrameCutter,
    chunkMap: ChunkMap,
    files: ReadonlyMap<Digest, ShownFile>,
  ): Promise<void> {
    const { signal, onProgress } = this.#options;
    let done = 0;
    for await (const bytes of openVerified(this.#store, pack, signal)) {
      for (const { frame, bytes: packed } of cutter.push(bytes)) {
        await this.#checkFrame(frame, packed, chunkMap, files);
      }
      done += bytes.length;
      this.#bytes += bytes.length;
      onProgress(`pack ${pack.digest.slice(7, 19)}`, done, pack.size);
    }
  }

  async #checkFrame(
    frame: Frame,
    packed: Buffer,
    chunkMap: ChunkMap,
    files: ReadonlyMap<Digest, ShownFile>,
  ): Promise<void> {
    const placements = chunkMap.placementsIn(frame);
    const paths = placements
      .map(({ content }) => files.get(content)?.path)
      .filter((path) => !!path);
    const [first] = paths;
    const where = first === undefined ? '' : ` (${shown(first)} and what is near it)`;
    await this.#check(`frame at ${frame.offset} of pack ${frame.pack}${where}`, async () => {
      const plain = await decodeFrame(frame, packed);
      const seen = new Set<Digest>();
      for (const { chunk, content } of placements) {
        if (seen.has(chunk.digest)) continue;
        seen.add(chunk.digest);
        if (digestOf(bytesOfChunk(plain, chunk)) === chunk.digest) continue;
        const path = files.get(content)?.path;
        this.#problem(
          `chunk ${chunk.digest}${path === undefined ? '' : ` of ${shown(path)}`}: other bytes`,
        );
      }
    });
  }

  /** Those of one chunk were checked with it. */
  async #checkFiles(files: ReadonlyMap<Digest, ShownFile>, chunkMap: ChunkMap): Promise<void> {
    if (this.#problems > 0) return;
    const sizes = new Map(chunkMap.packs.map(({ digest, size }) => [digest, size]));
    const packSize = (pack: Digest) => sizes.get(pack);
    const frames = frameSource({ stores: [this.#store], packSize, deadlineMs: 0 });
    const decoded = new LRUCache<string, Buffer>({ max: framesKept });
    const several = [...files].filter(([content]) => (chunkMap.chunksOf(content)?.length ?? 0) > 1);
    const total = several.reduce((sum, [, { size }]) => sum + size, 0);
    let done = 0;
    for (const [content, { path, size }] of several) {
      await this.#check(shown(path), async () => {
        const chunks = chunkMap.chunksOf(content) ?? [];
        if ((await this.#hashFile(chunks, frames, decoded)) === content) return;
        this.#problem(`${shown(path)}: its chunks together are not ${content}`);
      });
      done += size;
      this.#options.onProgress('large files', done, total);
    }
  }

  async #hashFile(
    chunks: readonly Chunk[],
    frames: FrameSource,
    decoded: LRUCache<string, Buffer>,
  ): Promise<string> {
    const hash = createHash('sha256');
    for (const chunk of chunks) {
      const key = `${chunk.frame.pack} ${chunk.frame.offset}`;
      const plain =
        decoded.get(key) ?? (await frames.fetchFrame(chunk.frame, this.#options.signal));
      decoded.set(key, plain);
      hash.update(bytesOfChunk(plain, chunk));
    }
    return `sha256:${hash.digest('hex')}`;
  }
}

function bytesOfChunk(plain: Buffer, { offsetInFrame, length }: Chunk): Buffer {
  return plain.subarray(offsetInFrame, offsetInFrame + length);
}

/** The frames of each pack that the chunk map refers to, by their offset. */
function framesByPack(chunkMap: ChunkMap): Map<Digest, Frame[]> {
  const packs = new Map<Digest, Map<number, Frame>>();
  for (const { content } of chunkMap.files()) {
    for (const { frame } of chunkMap.chunksOf(content) ?? []) {
      const frames = packs.get(frame.pack) ?? new Map<number, Frame>();
      packs.set(frame.pack, frames.set(frame.offset, frame));
    }
  }
  const sorted = (frames: ReadonlyMap<number, Frame>) =>
    [...frames.values()].sort((a, b) => a.offset - b.offset);
  return new Map([...packs].map(([pack, frames]) => [pack, sorted(frames)]));
}

function shown(path: ByteString): string {
  return `/${displayByteString(path)}`;
}
