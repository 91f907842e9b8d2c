import type { NearChunks } from '../cache/near-chunks.js';
import type { Frame } from '../chunk/frame.js';
import type { Digest } from '../digest.js';
import type { ChunkMap } from '../thin/chunk-map.js';
import type { HotChunk, HotCommand } from '../thin/hot-index.js';
import { HotOverlay, type PlacedDelta } from '../thin/hot-overlay.js';
import type { DeltaBases } from './delta-frames.js';

/** Packs that are not in an image's own descriptor, with their bytes: hot packs. */
export interface FurtherPacks {
  set(pack: Digest, size: number): unknown;
}

type Places = Awaited<ReturnType<NearChunks['find']>>;

/** The hot pack that an image's chunks come from now, if there is one. */
export class HotPlaces implements DeltaBases {
  readonly #map: ChunkMap;
  readonly #furtherPacks: FurtherPacks;
  readonly #near: NearChunks;
  /** Of chunks that its delta pack is told from. */
  #bases: Places = new Map();
  current: HotOverlay | undefined;

  constructor(map: ChunkMap, furtherPacks: FurtherPacks, near: NearChunks) {
    this.#map = map;
    this.#furtherPacks = furtherPacks;
    this.#near = near;
  }

  /** Never fails. */
  async use(command: HotCommand): Promise<HotOverlay> {
    const { pack, delta } = command;
    this.#furtherPacks.set(pack.digest, pack.size);
    if (delta) this.#furtherPacks.set(delta.pack.digest, delta.pack.size);
    if (this.current?.command.pack.digest === pack.digest) return this.current;
    const bases = delta?.frames.flatMap((frame) => frame.bases) ?? [];
    const distinct = new Map(bases.map((chunk) => [chunk.digest, chunk]));
    this.#bases = await this.#near.find([...distinct.values()]);
    this.current = new HotOverlay(this.#map, command, ({ digest }) => this.#bases.has(digest));
    return this.current;
  }

  deltaOf(frame: Frame): PlacedDelta | undefined {
    return this.current?.deltaOf(frame);
  }

  async readBase({ digest, length }: HotChunk): Promise<Buffer | undefined> {
    const place = this.#bases.get(digest);
    return place && (await this.#near.readUnverified(place, length));
  }
}
