import type { Chunk, Frame } from '../chunk/frame.js';
import type { Digest } from '../digest.js';
import type { ChunkMap, Placement } from './chunk-map.js';
import type { DeltaFrame } from './hot-delta.js';
import { type HotChunk, type HotCommand, placedFrames } from './hot-index.js';

/** A range of a file of the image: one chunk. */
export interface HotPlace {
  readonly content: Digest;
  /** Bytes of the whole file. */
  readonly size: number;
  readonly offset: number;
  readonly length: number;
}

/** A frame of a delta pack, and how to make plain bytes of it. */
export interface PlacedDelta {
  readonly delta: DeltaFrame;
  /** The frame of the hot pack that has the same plain bytes. */
  readonly instead: Frame;
}

interface Place {
  readonly frame: Frame;
  /** Those that the image has, as chunks of this frame. */
  readonly chunks: readonly Chunk[];
  readonly placed?: PlacedDelta;
}

/**
 * The chunks of a hot pack, as further places of chunks of an image: they are fetched from there
 * together and in the order of a start. Only what the image's own chunk map has is taken: where a chunk
 * belongs, and that its bytes are its own, is as certain as without a hot pack. Frames of its delta pack
 * whose bases are here stand before those of the hot pack.
 */
export class HotOverlay {
  readonly #map: ChunkMap;
  readonly #command: HotCommand;
  /** Where a chunk is, in the hot pack or the delta pack, by its digest. */
  readonly #chunks = new Map<Digest, Chunk>();
  /** By pack and offset. */
  readonly #frames = new Map<string, Place>();

  /** @param isHere whether a delta may be told from this chunk; of no delta if not given */
  constructor(
    map: ChunkMap,
    command: HotCommand,
    isHere: (base: HotChunk) => boolean = () => false,
  ) {
    this.#map = map;
    this.#command = command;
    const hot: Place[] = [];
    for (const { frame, chunks } of placedFrames(command)) {
      let offsetInFrame = 0;
      const placed = chunks.map(({ digest, length }): Chunk => {
        offsetInFrame += length;
        return { digest, length, frame, offsetInFrame: offsetInFrame - length };
      });
      const known = placed.filter(({ digest, length }) => map.find(digest)?.length === length);
      hot.push({ frame, chunks: known });
      this.#add({ frame, chunks: known });
    }
    this.#addDelta(hot, isHere);
  }

  #add(place: Place): void {
    this.#frames.set(nameOf(place.frame), place);
    for (const chunk of place.chunks) this.#chunks.set(chunk.digest, chunk);
  }

  #addDelta(hot: readonly Place[], isHere: (base: HotChunk) => boolean): void {
    const { delta } = this.#command;
    let offset = 0;
    for (const one of delta?.frames ?? []) {
      const instead = hot[one.number];
      offset += one.length;
      if (!delta || !instead || !one.bases.every(isHere)) continue;
      const place = { pack: delta.pack.digest, offset: offset - one.length, length: one.length };
      const frame: Frame = { ...instead.frame, ...place, codec: 'zstd' };
      const chunks = instead.chunks.map((chunk) => ({ ...chunk, frame }));
      this.#add({ frame, chunks, placed: { delta: one, instead: instead.frame } });
    }
  }

  get command(): HotCommand {
    return this.#command;
  }

  /** The same chunk in the hot pack; undefined if it is not in it, or not to be had from there. */
  nearer({ digest }: Chunk): Chunk | undefined {
    return this.#chunks.get(digest);
  }

  /** Undefined for a frame that is not one of the delta pack. */
  deltaOf(frame: Frame): PlacedDelta | undefined {
    return this.#frames.get(nameOf(frame))?.placed;
  }

  /** Undefined for a frame of another pack. */
  placementsIn(frame: Frame): Placement[] | undefined {
    const { pack, delta } = this.#command;
    if (frame.pack !== pack.digest && frame.pack !== delta?.pack.digest) return undefined;
    const chunks = this.#frames.get(nameOf(frame))?.chunks ?? [];
    return chunks.flatMap((chunk) =>
      this.#map.placementsOf(chunk.digest).map((placement) => ({ ...placement, chunk })),
    );
  }

  /**
   * Nothing is to be taken from this frame any more: it is not what it should be, or not worth it. Of one
   * of the delta pack, the hot pack has the same.
   */
  forsake(frame: Frame): void {
    const place = this.#frames.get(nameOf(frame));
    const instead = place?.placed && this.#frames.get(nameOf(place.placed.instead));
    for (const { digest } of place?.chunks ?? []) {
      if (this.#chunks.get(digest)?.frame === place?.frame) this.#chunks.delete(digest);
    }
    for (const chunk of instead?.chunks ?? []) this.#chunks.set(chunk.digest, chunk);
  }

  /** What the pack has, in its order: of each chunk one place. */
  *places(): Generator<HotPlace> {
    for (const { chunks, placed } of this.#frames.values()) {
      for (const { digest, length } of placed ? [] : chunks) {
        const [placement] = this.#map.placementsOf(digest);
        if (!placement) continue;
        const { content, size, offsetInFile } = placement;
        yield { content, size, offset: offsetInFile, length };
      }
    }
  }
}

function nameOf({ pack, offset }: Frame): string {
  return `${pack} ${offset}`;
}
