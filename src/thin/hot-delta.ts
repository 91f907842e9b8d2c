import { z } from 'zod';
import { type Digest, digestBytes, digestFromBytes, digestSize, isDigest } from '../digest.js';
import { chunkBytesMax } from './chunk-map-layout.js';
import type { HotChunk, HotFrame } from './hot-index.js';
import type { Blob } from './image-store.js';

/** Plain bytes of the chunks that one frame is told from: who decodes has them in memory. */
export const deltaBaseBytesMax = 512 * 1024;

/** Different chunks that a delta pack is told from: a node looks for each of them before it begins. */
export const deltaBasesMax = 8192;

/** A frame of a delta pack: the plain bytes of one of the hot pack, told from chunks of another image. */
export interface DeltaFrame {
  /** Of the frame of the hot pack, counted from 0. */
  readonly number: number;
  /** Bytes in the delta pack. */
  readonly length: number;
  /** Of those bytes. */
  readonly digest: Digest;
  /** In the order in which they stand before it. */
  readonly bases: readonly HotChunk[];
}

/** What of a hot pack is new for who has started another version of the image. */
export interface HotDelta {
  /** Original manifest of that version. */
  readonly image: Digest;
  readonly pack: Blob;
  /** In the order of the pack, without gaps; the frames of the hot pack in their order. */
  readonly frames: readonly DeltaFrame[];
}

const digest = z.string().refine(isDigest);
const size = z.int().positive();
const count = z.int().nonnegative();
const schema = z.object({
  image: digest,
  pack: z.object({ digest, size }),
  /** Of each frame: number in the hot pack, length, number of bases. */
  frames: z.array(z.tuple([count, size, size])).min(1),
  /** Base64 of 32 bytes of each. */
  digests: z.base64(),
  /** Of all frames, one after the other: numbers of chunks. */
  bases: z.array(count),
  /** Plain bytes of each chunk, and base64 of 32 bytes of each. */
  lengths: z.array(size.max(chunkBytesMax)).max(deltaBasesMax),
  chunks: z.base64(),
});
export type StoredDelta = z.infer<typeof schema>;

/** As the hot index has it (FORMAT.md, "Delta packs"). */
export function encodeHotDelta({ image, pack, frames }: HotDelta): StoredDelta {
  const numbers = new Map<Digest, number>();
  const chunks: HotChunk[] = [];
  const bases = frames.flatMap((frame) =>
    frame.bases.map((chunk) => {
      const number = numbers.get(chunk.digest) ?? chunks.push(chunk) - 1;
      numbers.set(chunk.digest, number);
      return number;
    }),
  );
  return {
    image,
    pack: { digest: pack.digest, size: pack.size },
    frames: frames.map(({ number, length, bases }) => [number, length, bases.length]),
    digests: joined(frames.map((frame) => frame.digest)),
    bases,
    lengths: chunks.map(({ length }) => length),
    chunks: joined(chunks.map((chunk) => chunk.digest)),
  };
}

/**
 * @param json what a hot index has in its place
 * @param hot the frames of the hot pack
 * @returns undefined if there is none, or it cannot be used: the hot pack has the same chunks
 */
export function parseHotDelta(json: unknown, hot: readonly HotFrame[]): HotDelta | undefined {
  const stored = schema.safeParse(json).data;
  if (!stored) return undefined;
  const chunkDigests = cut(stored.chunks, stored.lengths.length);
  const frameDigests = cut(stored.digests, stored.frames.length);
  if (!chunkDigests || !frameDigests) return undefined;
  const chunks = stored.lengths.map((length, at) => ({ digest: chunkDigests(at), length }));
  let next = 0;
  const frames = stored.frames.map(([number, length, bases], at): DeltaFrame => {
    next += bases;
    const of = stored.bases.slice(next - bases, next).flatMap((chunk) => chunks[chunk] ?? []);
    return { number, length, digest: frameDigests(at), bases: of };
  });
  const counts = stored.frames.every(([, , bases], at) => frames[at]?.bases.length === bases);
  const isWhole = sum(frames) === stored.pack.size && next === stored.bases.length;
  if (!counts || !isWhole || !areSound(frames, hot)) return undefined;
  return { image: stored.image, pack: stored.pack, frames };
}

function areSound(frames: readonly DeltaFrame[], hot: readonly HotFrame[]): boolean {
  return frames.every(({ number, length, bases }, at) => {
    const frame = hot[number];
    const isNext = number > (frames[at - 1]?.number ?? -1);
    const isSmaller = frame !== undefined && length < sum(frame.chunks);
    return isNext && isSmaller && sum(bases) <= deltaBaseBytesMax;
  });
}

function sum(parts: readonly { readonly length: number }[]): number {
  return parts.reduce((total, { length }) => total + length, 0);
}

function joined(digests: readonly Digest[]): string {
  return Buffer.concat(digests.map(digestBytes)).toString('base64');
}

/** Undefined if there are more or fewer. */
function cut(base64: string, count: number): ((at: number) => Digest) | undefined {
  const bytes = Buffer.from(base64, 'base64');
  if (bytes.length !== count * digestSize) return undefined;
  return (at) => digestFromBytes(bytes, at * digestSize);
}
