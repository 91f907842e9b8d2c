import { compressFrame, frameBytesMax } from '../chunk/codec.js';
import type { Chunk, Frame } from '../chunk/frame.js';
import { type Digest, digestOf } from '../digest.js';
import { ThinError } from '../errors.js';
import type { ChunkMap } from '../thin/chunk-map.js';
import type { HotFrame } from '../thin/hot-index.js';
import { inParallel } from '../thin/parallel.js';
import type { DeltaPack } from './delta-pack.js';
import type { HotRange } from './static-guess.js';

/** zstd level: a hot pack is written once, is small, and stands between a program and its start. */
const level = 19;
/** Plain bytes of one hot pack; what is touched after so many is no longer the start. */
const plainBytesMax = 256 * 1024 * 1024;
/** Chunks of one hot pack: an index takes 50 bytes for each, and 4 MiB in all. */
const chunksMax = 32_768;
/** Frames that are fetched at a time. */
const fetchesMax = 8;

/** Of the chunks that both versions have: who touched fewer has had the others on its disk, where nobody sees reads. */
const touchedLeast = 0.5;

/** The plain bytes of a frame; they are verified here. */
export type FetchFrame = (frame: Frame, signal: AbortSignal) => Promise<Buffer>;

export interface HotPack {
  /** All frames, one behind the other. */
  readonly bytes: Buffer;
  readonly frames: readonly HotFrame[];
}

/**
 * Makes a hot pack: the chunks that ranges of files are in, about in their order, together in frames.
 * @param delta given each frame, to tell it from what is known of another version
 * @throws ThinError `corrupt` if a chunk is not what the image says; what `fetch` throws
 */
export async function makeHotPack(
  map: Pick<ChunkMap, 'chunksOf' | 'find'>,
  ranges: readonly HotRange[],
  fetch: FetchFrame,
  signal: AbortSignal,
  delta?: DeltaPack,
): Promise<HotPack> {
  const touched = hotChunks(map, ranges);
  const chunks = delta ? withUnseen(map, touched, delta.known) : touched;
  const bytes = await readChunks(chunks, fetch, signal);
  const frames: HotFrame[] = [];
  const packed: Buffer[] = [];
  for (const group of grouped(chunks)) {
    const plain = Buffer.concat(group.map(({ digest }) => bytes.get(digest) ?? Buffer.alloc(0)));
    const encoded = await compressFrame(plain, level);
    const frame: HotFrame = {
      length: encoded.bytes.length,
      codec: encoded.codec,
      chunks: group.map(({ digest, length }) => ({ digest, length })),
    };
    await delta?.add(frames.length, frame, plain);
    packed.push(encoded.bytes);
    frames.push(frame);
  }
  return { bytes: Buffer.concat(packed), frames };
}

/** Each chunk once, where it is touched first. */
function hotChunks(map: Pick<ChunkMap, 'chunksOf'>, ranges: readonly HotRange[]): Chunk[] {
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

/**
 * Adds what the start of an earlier version touched and this one has too, if the start was seen where
 * that was on the disk: an empty node needs it.
 */
function withUnseen(
  map: Pick<ChunkMap, 'find'>,
  touched: Chunk[],
  earlier: Iterable<Digest>,
): Chunk[] {
  const seen = new Set(touched.map(({ digest }) => digest));
  const shared = [...earlier].flatMap((digest) => map.find(digest) ?? []);
  const unseen = shared.filter(({ digest }) => !seen.has(digest));
  if (shared.length - unseen.length >= shared.length * touchedLeast) return touched;
  let room = plainBytesMax - touched.reduce((sum, { length }) => sum + length, 0);
  const added = unseen.slice(0, chunksMax - touched.length).filter(({ length }) => {
    room -= length;
    return room >= 0;
  });
  return [...touched, ...added];
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

/**
 * Frames in the order in which their first chunks are touched. Chunks of different packs are apart:
 * what an update has changed is in a pack of its own, and the rest is on nodes that had the old version.
 */
function grouped(chunks: readonly Chunk[]): Chunk[][] {
  const groups: Chunk[][] = [];
  const open = new Map<Digest, { readonly group: Chunk[]; total: number }>();
  for (const chunk of chunks) {
    const { pack } = chunk.frame;
    let filling = open.get(pack);
    if (!filling || filling.total + chunk.length > frameBytesMax) {
      filling = { group: [], total: 0 };
      open.set(pack, filling);
      groups.push(filling.group);
    }
    filling.group.push(chunk);
    filling.total += chunk.length;
  }
  return groups;
}
