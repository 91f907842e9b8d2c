import type { Chunk, Frame } from '../chunk/frame.js';
import type { Digest } from '../digest.js';
import type { ChunkMap, Placement } from './chunk-map.js';
import { type HotCommand, placedFrames } from './hot-index.js';

/** A range of a file of the image: one chunk. */
export interface HotPlace {
  readonly content: Digest;
  /** Bytes of the whole file. */
  readonly size: number;
  readonly offset: number;
  readonly length: number;
}

/**
 * The chunks of a hot pack, as further places of chunks of an image: they are fetched from there
 * together and in the order of a start. Only what the image's own chunk map has is taken: where a chunk
 * belongs, and that its bytes are its own, is as certain as without a hot pack.
 */
export class HotOverlay {
  readonly #map: ChunkMap;
  readonly #command: HotCommand;
  /** Where a chunk is, in the hot pack, by its digest. */
  readonly #chunks = new Map<Digest, Chunk>();
  /** By offset. */
  readonly #frames = new Map<number, readonly Chunk[]>();

  constructor(map: ChunkMap, command: HotCommand) {
    this.#map = map;
    this.#command = command;
    for (const { frame, chunks } of placedFrames(command)) {
      let offsetInFrame = 0;
      const placed = chunks.map(({ digest, length }): Chunk => {
        offsetInFrame += length;
        return { digest, length, frame, offsetInFrame: offsetInFrame - length };
      });
      const known = placed.filter(({ digest, length }) => map.find(digest)?.length === length);
      this.#frames.set(frame.offset, known);
      for (const chunk of known) this.#chunks.set(chunk.digest, chunk);
    }
  }

  get command(): HotCommand {
    return this.#command;
  }

  /** The same chunk in the hot pack; undefined if it is not in it, or not to be had from there. */
  nearer({ digest }: Chunk): Chunk | undefined {
    return this.#chunks.get(digest);
  }

  /** Undefined for a frame of another pack. */
  placementsIn(frame: Frame): Placement[] | undefined {
    if (frame.pack !== this.#command.pack.digest) return undefined;
    const chunks = this.#frames.get(frame.offset) ?? [];
    return chunks.flatMap((chunk) =>
      this.#map.placementsOf(chunk.digest).map((placement) => ({ ...placement, chunk })),
    );
  }

  /** Nothing is to be taken from this frame any more: it is not what it should be, or not worth it. */
  forsake({ offset }: Frame): void {
    for (const { digest, frame } of this.#frames.get(offset) ?? []) {
      if (this.#chunks.get(digest)?.frame.offset === frame.offset) this.#chunks.delete(digest);
    }
  }

  /** What the pack has, in its order: of each chunk one place. */
  *places(): Generator<HotPlace> {
    for (const chunks of this.#frames.values()) {
      for (const { digest, length } of chunks) {
        const [placement] = this.#map.placementsOf(digest);
        if (!placement) continue;
        const { content, size, offsetInFile } = placement;
        yield { content, size, offset: offsetInFile, length };
      }
    }
  }
}
