import type { Chunk } from '../chunk/frame.js';
import { isChunk } from './chunk-table.js';
import type { FileOrigin, Placement } from './file-origin.js';

/** Chunks by offset and digest: a digest alone could stand at a second, wrong, place. */
type GoodChunks = Map<string, Buffer>;

/**
 * What is known of the bytes of a frame: who takes them from other nodes verifies them first, and who
 * asked for them need not do it again. Nobody changes the bytes of a frame.
 */
const goodChunksOf = new WeakMap<Buffer, GoodChunks>();

/** A decoded frame, with the placements whose chunks were verified. */
export class VerifiedFrame {
  readonly bytes: Buffer;
  readonly placements: readonly Placement[];
  readonly #good: GoodChunks;
  /** True if every chunk that the image places is what it should be. */
  readonly sound: boolean;

  constructor(bytes: Buffer, placements: readonly Placement[]) {
    this.bytes = bytes;
    this.#good = goodChunksOf.get(bytes) ?? new Map();
    goodChunksOf.set(bytes, this.#good);
    this.placements = placements.filter(({ chunk }) => this.chunk(chunk) !== undefined);
    this.sound = this.placements.length === placements.length;
  }

  /** The chunk's bytes, verified once; undefined if they are wrong. */
  chunk(chunk: Chunk): Buffer | undefined {
    const name = `${chunk.offsetInFrame} ${chunk.digest}`;
    const known = this.#good.get(name);
    if (known?.length === chunk.length) return known;
    const end = chunk.offsetInFrame + chunk.length;
    const bytes = this.bytes.subarray(chunk.offsetInFrame, end);
    if (!isChunk(chunk, bytes)) return undefined;
    this.#good.set(name, bytes);
    return bytes;
  }
}

/**
 * Keeps what a frame is good for, `wanted` first of all: the places that reads are waiting for. Never
 * fails; true if all of it is on the disk afterwards, and the frame need not be remembered.
 */
export type StoreFrame = (
  origin: FileOrigin,
  frame: VerifiedFrame,
  wanted: readonly Placement[],
) => Promise<boolean>;
