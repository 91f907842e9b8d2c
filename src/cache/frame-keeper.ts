import type { Digest } from '../digest.js';
import { mapBounded } from './bounded.js';
import type { FileOrigin, FileRef, Placement } from './file-origin.js';
import type { ChunkBytes, ChunkedFile, PartialFile } from './partial-file.js';
import type { PartialFiles } from './partial-files.js';
import type { SharedFiles } from './shared-files.js';
import type { TierFiles } from './tier-files.js';
import type { StoreFrame, VerifiedFrame } from './verified-frame.js';

/** Bytes of frames on their way to the disk; beyond it frames are served and not kept. */
const bytesInFlightMax = 64 * 1024 * 1024;
/**
 * Bytes written for one frame. A chunk that recurs (zeros, padding) belongs to many places; the rest
 * of them is filled when they are read.
 */
const bytesPerFrameMax = 4 * 1024 * 1024;
const blockBytes = 4096;
/** Files of one frame written at the same time. */
const filesInFlight = 4;

/** Where a complete file is, and how much disk it takes, as far as that is known. */
export interface PlacedFile {
  /** The local one if not given. */
  readonly tier?: string;
  /** Bytes. */
  readonly allocated?: number;
}

/** What the keeper tells the rest of the cache, and asks of it. */
export interface KeeperEvents {
  /** May `bytes` more go to the disk? If so, `written` follows. */
  admit(bytes: number): boolean;
  written(bytes: number): void;
  /** A complete file has its name now. */
  completed(file: FileRef, placed?: PlacedFile): void;
  /** The partial file that it was is gone. */
  promoted(key: string): void;
  /** A partial file has these chunks now, too. */
  filled(partial: PartialFile, chunks: readonly ChunkBytes[]): void;
  /** Something could not be kept; reads go on. */
  failed(error: unknown): void;
}

/** Puts on the disk what was fetched: small files whole, chunks of large ones into partial files. */
export class FrameKeeper {
  readonly #tier: TierFiles;
  readonly #partials: PartialFiles;
  readonly #events: KeeperEvents;
  readonly #shared: SharedFiles | undefined;
  readonly #promoting = new Map<string, Promise<void>>();
  /** Under way, for whoever does not wait for it. */
  readonly #keeping = new Set<Promise<boolean>>();
  #bytesInFlight = 0;

  constructor(
    tier: TierFiles,
    partials: PartialFiles,
    events: KeeperEvents,
    shared: SharedFiles | undefined,
  ) {
    this.#shared = shared;
    this.#tier = tier;
    this.#partials = partials;
    this.#events = events;
  }

  readonly keepFrame: StoreFrame = async (origin, frame, wanted) => {
    const learning = origin.isLearning?.() === true;
    const { kept, all } = worthKeeping(wanted, learning ? [] : frame.placements);
    const small: Placement[] = [];
    const large = new Map<Digest, Placement[]>();
    for (const placement of kept) {
      if (placement.size === placement.chunk.length) small.push(placement);
      else {
        const of = large.get(placement.content) ?? [];
        large.set(placement.content, of);
        of.push(placement);
      }
    }
    const works = small.length > 0 ? [() => this.#keepSmall(small, frame)] : [];
    for (const of of large.values()) works.push(() => this.#keepLarge(origin, of, frame));
    const done = await this.#guarded(diskBytesOf(kept), () =>
      mapBounded(works, filesInFlight, (work) => work()),
    );
    return done && all && !learning;
  };

  /** Keeps chunks that were copied from another file here. */
  keepChunks(chunked: ChunkedFile, chunks: readonly ChunkBytes[]): Promise<boolean> {
    const total = chunks.reduce((sum, { bytes }) => sum + diskBytes(bytes.length), 0);
    return this.#guarded(total, () => this.#fill(chunked, chunks));
  }

  /** Keeps a file, verified, that others have put where we could read it. */
  keepFile(file: FileRef, bytes: Buffer): Promise<boolean> {
    return this.#guarded(diskBytes(bytes.length), async () => {
      if (await this.#tier.put(file.content, bytes)) this.#events.completed(file);
    });
  }

  #guarded(bytes: number, work: () => Promise<unknown>): Promise<boolean> {
    const keeping = this.#keep(bytes, work).finally(() => this.#keeping.delete(keeping));
    this.#keeping.add(keeping);
    return keeping;
  }

  async #keep(bytes: number, work: () => Promise<unknown>): Promise<boolean> {
    if (this.#bytesInFlight + bytes > bytesInFlightMax || !this.#events.admit(bytes)) return false;
    this.#bytesInFlight += bytes;
    try {
      await work();
      return true;
    } catch (error) {
      this.#events.failed(error);
      return false;
    } finally {
      this.#bytesInFlight -= bytes;
      this.#events.written(bytes);
    }
  }

  async #keepSmall(placements: readonly Placement[], frame: VerifiedFrame): Promise<void> {
    const right = new Map<Digest, Placement>(); // what is wanted is told twice
    for (const placement of placements) {
      const { content, chunk } = placement;
      if (chunk.digest === content && frame.chunk(chunk)) right.set(content, placement);
    }
    const elsewhere = await this.#tier.elsewhere([...right.keys()]);
    const good = [...right.values()].filter(({ content }) => !elsewhere.has(content));
    const spans = good.map(({ chunk }) => ({ offset: chunk.offsetInFrame, length: chunk.length }));
    try {
      const stored = await this.#tier.putAll(frame.bytes, spans);
      for (const [at, { content, size }] of good.entries()) {
        const { isNew = false, allocated = 0 } = stored[at] ?? {};
        if (isNew) this.#completed({ content, size }, { allocated });
      }
    } catch (error) {
      // Some may be there.
      const { local } = this.#tier;
      for (const file of good) {
        if (await local.exists(file.content).catch(() => false)) this.#completed(file);
      }
      throw error;
    }
  }

  async #keepLarge(
    origin: FileOrigin,
    placements: readonly Placement[],
    frame: VerifiedFrame,
  ): Promise<void> {
    const [first] = placements;
    if (first === undefined) return;
    const file = { content: first.content, size: first.size };
    const chunked = this.#partials.describe(file, origin);
    if (chunked === undefined || (await this.#tier.has(file.content))) return;
    const chunks: ChunkBytes[] = [];
    for (const { offsetInFile, chunk } of placements) {
      const index = chunked.table.indexAt(offsetInFile);
      const bytes = frame.chunk(chunk);
      const belongs =
        chunked.table.start(index) === offsetInFile &&
        chunked.table.chunk(index).digest === chunk.digest;
      if (belongs && bytes !== undefined) chunks.push({ index, bytes });
    }
    await this.#fill(chunked, chunks);
  }

  async #fill(chunked: ChunkedFile, chunks: readonly ChunkBytes[]): Promise<void> {
    const partial = await this.#partials.open(chunked);
    try {
      await partial.write(chunks);
    } catch (error) {
      if (partial.empty) await this.#partials.remove(chunked.key);
      throw error;
    }
    this.#events.filled(partial, chunks);
    await this.#promoteReady(chunked, partial);
  }

  /** Tries a partial file that was found with all its chunks. Ends behind that; see `settled`. */
  promoteFound(chunked: ChunkedFile, partial: PartialFile): void {
    this.#promoteReady(chunked, partial).catch((error: unknown) => this.#events.failed(error));
  }

  /** Ends when nothing is being kept, and no promotion is under way. */
  async settled(): Promise<void> {
    await Promise.all(this.#keeping);
    await Promise.allSettled(this.#promoting.values());
  }

  /** Several frames may find a file ready at once; a chunk may turn out wrong and come again. */
  async #promoteReady(chunked: ChunkedFile, partial: PartialFile): Promise<void> {
    const { key } = chunked;
    while (partial.ready) {
      let promotion = this.#promoting.get(key);
      if (promotion === undefined) {
        promotion = this.#promote(chunked, partial).finally(() => this.#promoting.delete(key));
        this.#promoting.set(key, promotion);
      }
      await promotion;
    }
  }

  /** A partial file that has become complete gets its final name. */
  async #promote({ file, key }: ChunkedFile, partial: PartialFile): Promise<void> {
    if (!(await partial.finish())) return;
    await this.#partials.promote(key, (path) =>
      this.#tier.adopt(this.#tier.local, path, file.content),
    );
    this.#completed(file);
    this.#events.promoted(key);
  }

  #completed(file: FileRef, placed?: PlacedFile): void {
    this.#events.completed(file, placed);
    this.#shared?.offer(file, this.#tier.local.path(file.content));
  }
}

/** Bytes of disk that a frame takes at most which nobody waits for. @param all its placements */
export function diskBytesOfFrame(all: readonly Placement[]): number {
  return diskBytesOf(worthKeeping([], all).kept);
}

function diskBytesOf(kept: readonly Placement[]): number {
  const inParts = kept.filter(({ size, chunk }) => size !== chunk.length);
  // A part of a file begins inside a block, and its trailer takes another.
  const parts = new Set(inParts.map(({ content }) => content)).size * 2 * blockBytes;
  return kept.reduce((sum, { chunk }) => sum + diskBytes(chunk.length), parts);
}

/** The placements to write, `wanted` first; `all` tells whether that is all of them. */
function worthKeeping(
  wanted: readonly Placement[],
  others: readonly Placement[],
): { kept: Placement[]; all: boolean } {
  const kept: Placement[] = [];
  let bytes = 0;
  for (const placement of [...wanted, ...others]) {
    if (bytes + placement.chunk.length > bytesPerFrameMax) return { kept, all: false };
    bytes += placement.chunk.length;
    kept.push(placement);
  }
  return { kept, all: true };
}

/** A disk takes whole blocks. */
function diskBytes(length: number): number {
  return Math.ceil(length / blockBytes) * blockBytes;
}
