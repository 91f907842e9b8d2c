import { zstdCompressDelta } from '../../native-bindings/zstd.js';
import { type Digest, digestOf } from '../digest.js';
import { isThinError } from '../errors.js';
import { type DeltaFrame, deltaBaseBytesMax, deltaBasesMax } from '../thin/hot-delta.js';
import { type HotChunk, type HotCommand, placedFrames } from '../thin/hot-index.js';
import { inParallel } from '../thin/parallel.js';
import type { FetchFrame } from './hot-pack.js';
import { type KnownChunk, SimilarChunks } from './similar-chunks.js';

/** zstd level, as of hot packs. */
const level = 19;
/** Plain bytes that frames are told from, all in memory. */
const knownBytesMax = 64 * 1024 * 1024;
/** A frame that does not become smaller by this part is fetched as it is. */
const worthMax = 0.75;
/** Frames that are fetched at a time. */
const fetchesMax = 8;

/** Tells the frames of a hot pack from chunks that a start of another version has read. */
export class DeltaPack {
  /** What the other version's start has read, as far as it was to be had; in its order. */
  readonly known: ReadonlySet<Digest>;
  readonly frames: DeltaFrame[] = [];
  readonly #packed: Buffer[] = [];
  readonly #similar: SimilarChunks;
  /** Of all its frames. */
  #bases: ReadonlySet<Digest> = new Set();

  constructor(known: readonly KnownChunk[]) {
    this.#similar = new SimilarChunks(known);
    this.known = new Set(known.map(({ digest }) => digest));
  }

  /** All frames that were worth it, one behind the other. */
  get bytes(): Buffer {
    return Buffer.concat(this.#packed);
  }

  /**
   * A frame all of whose chunks are known is passed over: who has them fetches none of it.
   * @param number of the frame in the hot pack; ascending
   * @param length of the frame there
   */
  async add(
    number: number,
    { chunks, length }: { readonly chunks: readonly HotChunk[]; readonly length: number },
    plain: Buffer,
  ): Promise<void> {
    if (chunks.every(({ digest }) => this.known.has(digest))) return;
    const bases = this.#similar.nearest(plain, deltaBaseBytesMax);
    const all = new Set([...this.#bases, ...bases.map(({ digest }) => digest)]);
    if (bases.length === 0 || all.size > deltaBasesMax) return;
    const bytes = await zstdCompressDelta(plain, Buffer.concat(bases.map((at) => at.bytes)), level);
    if (bytes.length > length * worthMax) return;
    this.#bases = all;
    this.#packed.push(bytes);
    this.frames.push({
      ...{ number, length: bytes.length, digest: digestOf(bytes) },
      bases: bases.map((chunk) => ({ digest: chunk.digest, length: chunk.bytes.length })),
    });
  }
}

/**
 * The chunks of another version's hot pack, those that are touched first, as many as there is memory for.
 * Whatever of it is not to be had, or is something else, is left out.
 * @throws ThinError `canceled`, `denied`, `unavailable`
 */
export async function readHotChunks(
  command: HotCommand,
  fetch: FetchFrame,
  signal: AbortSignal,
): Promise<KnownChunk[]> {
  const frames = [...placedFrames(command)];
  let room = knownBytesMax;
  const wanted = frames.filter(({ frame }) => {
    room -= frame.plainLength;
    return room >= 0;
  });
  const found = new Map<Digest, KnownChunk>();
  await inParallel(wanted, fetchesMax, signal, async ({ frame, chunks }, aborted) => {
    const plain = await fetch(frame, aborted).catch((error: unknown) => {
      if (!isThinError(error, 'not-found', 'corrupt', 'invalid')) throw error;
    });
    let end = 0;
    for (const { digest, length } of plain ? chunks : []) {
      end += length;
      const bytes = plain?.subarray(end - length, end);
      if (bytes && digestOf(bytes) === digest) found.set(digest, { digest, bytes });
    }
  });
  // In the order of the pack, whatever came first: the same versions give the same bytes.
  const all = wanted.flatMap(({ chunks }) => chunks);
  return [...new Set(all.map(({ digest }) => digest))].flatMap((digest) => found.get(digest) ?? []);
}
