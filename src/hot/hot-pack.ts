import { compressFrame, frameBytesMax } from '../chunk/codec.js';
import type { Chunk, Frame } from '../chunk/frame.js';
import { type Digest, digestOf } from '../digest.js';
import { ThinError } from '../errors.js';
import type { ChunkMap } from '../thin/chunk-map.js';
import type { HotFrame } from '../thin/hot-index.js';
import { inParallel } from '../thin/parallel.js';
import type { HotRange } from './static-guess.js';

/** zstd level: a hot pack is written once, is small, and stands between a program and its start. */
const level = 15;
/** Plain bytes of one hot pack; what is touched after so many is no longer the start. */
const plainBytesMax = 256 * 1024 * 1024;
/** Chunks of one hot pack: an index takes 50 bytes for each, and 4 MiB in all. */
const chunksMax = 32_768;
/** Frames that are fetched at a time. */
const fetchesMax = 8;

/** The plain bytes of a frame; they are verified here. */
export type FetchFrame = (frame: Frame, signal: AbortSignal) => Promise<Buffer>;

export interface HotPack {
  /** All frames, one behind the other. */
  readonly bytes: Buffer;
  readonly frames: readonly HotFrame[];
}

/**
 * Makes a hot pack: the chunks that ranges of files are in, in their order, together in frames.
 * @throws ThinError `corrupt` if a chunk is not what the image says; what `fetch` throws
 */
export async function makeHotPack(
  map: ChunkMap,
  ranges: readonly HotRange[],
  fetch: FetchFrame,
  signal: AbortSignal,
): Promise<HotPack> {
  const chunks = hotChunks(map, ranges);
  const bytes = await readChunks(chunks, fetch, signal);
  const frames: HotFrame[] = [];
  const packed: Buffer[] = [];
  for (const group of grouped(chunks)) {
    const plain = Buffer.concat(group.map(({ digest }) => bytes.get(digest) ?? Buffer.alloc(0)));
    const encoded = await compressFrame(plain, level);
    packed.push(encoded.bytes);
    frames.push({
      length: encoded.bytes.length,
      codec: encoded.codec,
      chunks: group.map(({ digest, length }) => ({ digest, length })),
    });
  }
  return { bytes: Buffer.concat(packed), frames };
}

/** Each chunk once, where it is touched first. */
function hotChunks(map: ChunkMap, ranges: readonly HotRange[]): Chunk[] {
  const chunks = new Map<Digest, Chunk>();
  let total = 0;
  for (const { content, offset, length } of ranges) {
    let at = 0;
    for (const chunk of map.chunksOf(content) ?? []) {
      const touched = at < offset + length && at + chunk.length > offset;
      at += chunk.length;
      if (!touched || chunks.has(chunk.digest)) continue;
      total += chunk.length;
      if (total > plainBytesMax || chunks.size >= chunksMax) return [...chunks.values()];
      chunks.set(chunk.digest, chunk);
    }
  }
  return [...chunks.values()];
}

async function readChunks(
  chunks: readonly Chunk[],
  fetch: FetchFrame,
  signal: AbortSignal,
): Promise<Map<Digest, Buffer>> {
  const byFrame = new Map<string, Chunk[]>();
  for (const chunk of chunks) {
    const key = `${chunk.frame.pack} ${chunk.frame.offset}`;
    byFrame.set(key, [...(byFrame.get(key) ?? []), chunk]);
  }
  const bytes = new Map<Digest, Buffer>();
  await inParallel(byFrame.values(), fetchesMax, signal, async (wanted, aborted) => {
    const [first] = wanted;
    if (!first) return;
    const plain = await fetch(first.frame, aborted);
    for (const { digest, length, offsetInFrame } of wanted) {
      // A copy: the rest of the frame need not stay in memory.
      const chunk = Buffer.from(plain.subarray(offsetInFrame, offsetInFrame + length));
      if (digestOf(chunk) !== digest) {
        throw new ThinError('corrupt', `Cannot use chunk ${digest}: its bytes are others`);
      }
      bytes.set(digest, chunk);
    }
  });
  return bytes;
}

function* grouped(chunks: readonly Chunk[]): Generator<Chunk[]> {
  let group: Chunk[] = [];
  let total = 0;
  for (const chunk of chunks) {
    if (total > 0 && total + chunk.length > frameBytesMax) {
      yield group;
      [group, total] = [[], 0];
    }
    group.push(chunk);
    total += chunk.length;
  }
  if (group.length > 0) yield group;
}
