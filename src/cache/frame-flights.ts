import { setMaxListeners } from 'node:events';
import { LRUCache } from 'lru-cache';
import type { Chunk, Frame } from '../chunk/frame.js';
import type { Digest } from '../digest.js';
import { ThinError } from '../errors.js';
import { isChunk } from './chunk-table.js';
import type { FileOrigin, Placement } from './file-origin.js';

/** Times that a frame is fetched when what arrives is wrong: the second may come from elsewhere. */
const attemptsMax = 2;
/** Bytes of decoded frames remembered: what keeps reads going while the disk takes nothing. */
const rememberedBytesMax = 32 * 1024 * 1024;

/** A decoded frame, with the placements whose chunks were verified. */
export class VerifiedFrame {
  readonly bytes: Buffer;
  readonly placements: readonly Placement[];
  /** Chunks by digest and offset: a digest alone could stand at a second, wrong, place. */
  readonly #good = new Map<string, Buffer>();
  /** True if every chunk that the image places is what it should be. */
  readonly sound: boolean;

  constructor(bytes: Buffer, placements: readonly Placement[]) {
    this.bytes = bytes;
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

/** A fetch that several reads wait for; it is given up when the last of them gives up. */
interface Flight {
  readonly frame: Promise<VerifiedFrame>;
  readonly abort: AbortController;
  /** False once the frame has arrived: then there is nothing left to abort. */
  flying: boolean;
  waiting: number;
  /** Files that the waiting reads are of: kept before all else that the frame is good for. */
  readonly wanted: Set<Digest>;
  /** Ends, and never fails, when what arrived is stored. */
  landed: Promise<void>;
}

/**
 * Keeps what a frame is good for, first of all the files of `wanted`. Never fails; true if all of it
 * is on the disk afterwards, and the frame need not be remembered.
 */
export type StoreFrame = (
  origin: FileOrigin,
  frame: VerifiedFrame,
  wanted: ReadonlySet<Digest>,
) => Promise<boolean>;

/**
 * Frames on their way from the origin, or just arrived: each is fetched, verified and stored once,
 * however many reads want something of it.
 */
export class FrameFlights {
  readonly #flights = new Map<string, Flight>();
  readonly #remembered = new LRUCache<string, VerifiedFrame>({
    maxSize: rememberedBytesMax,
    sizeCalculation: (frame) => frame.bytes.length + 1,
  });
  readonly #store: StoreFrame;
  #wrong = 0;

  constructor(store: StoreFrame) {
    this.#store = store;
  }

  /** Frames that arrived wrong since the start. */
  get wrongFrames(): number {
    return this.#wrong;
  }

  /**
   * The bytes of one chunk of file `content`, verified.
   * @throws ThinError `corrupt` if the origin has other bytes; whatever the origin throws
   */
  async chunk(
    origin: FileOrigin,
    content: Digest,
    chunk: Chunk,
    signal: AbortSignal,
  ): Promise<Buffer> {
    const frame = await this.#frame(origin, content, chunk.frame, signal);
    const bytes = frame.chunk(chunk);
    if (bytes !== undefined) return bytes;
    const { pack, offset, length } = chunk.frame;
    throw new ThinError(
      'corrupt',
      `Cannot read chunk ${chunk.digest}: bytes ${offset} to ${offset + length} of pack ${pack} hold something else`,
    );
  }

  #frame(
    origin: FileOrigin,
    content: Digest,
    frame: Frame,
    signal: AbortSignal,
  ): Promise<VerifiedFrame> {
    const key = `${origin.id} ${frame.pack} ${frame.offset}`;
    let flight = this.#flights.get(key);
    if (flight === undefined || flight.abort.signal.aborted) {
      flight = this.#start(key, origin, frame);
    }
    flight.wanted.add(content);
    return join(flight, signal);
  }

  /** What is remembered has no way to go, but is offered to the disk once more. */
  #start(key: string, origin: FileOrigin, frame: Frame): Flight {
    const abort = new AbortController();
    const remembered = this.#remembered.get(key);
    const arrival = remembered
      ? Promise.resolve(remembered)
      : this.#fetch(origin, frame, abort.signal);
    const flight: Flight = {
      frame: arrival,
      abort,
      flying: true,
      waiting: 0,
      wanted: new Set(),
      landed: Promise.resolve(),
    };
    this.#flights.set(key, flight);
    flight.landed = this.#land(key, origin, flight);
    return flight;
  }

  async #land(key: string, origin: FileOrigin, flight: Flight): Promise<void> {
    try {
      const frame = await flight.frame;
      flight.flying = false;
      // A later read fetches a frame anew that had something wrong in it.
      if (!frame.sound) this.#flights.delete(key);
      const stored = await this.#store(origin, frame, flight.wanted);
      if (stored) this.#remembered.delete(key);
      else if (frame.sound) this.#remembered.set(key, frame);
    } catch {
      // Told to those who wait for the frame.
    } finally {
      if (this.#flights.get(key) === flight) this.#flights.delete(key);
    }
  }

  async #fetch(origin: FileOrigin, frame: Frame, signal: AbortSignal): Promise<VerifiedFrame> {
    const placements = origin.placementsIn(frame);
    for (let attempt = 1; ; attempt++) {
      const verified = new VerifiedFrame(await origin.fetchFrame(frame, signal), placements);
      if (verified.sound) return verified;
      this.#wrong++;
      if (attempt === attemptsMax) return verified;
    }
  }

  /** Ends when what has arrived is stored. */
  async settled(): Promise<void> {
    while (this.#flights.size > 0) {
      await Promise.all([...this.#flights.values()].map((flight) => flight.landed));
    }
  }

  abortAll(reason: Error): void {
    for (const flight of this.#flights.values()) if (flight.flying) flight.abort.abort(reason);
  }
}

/** Waits for a flight; `AbortSignal.any` is not used, as it leaks on long-lived signals in Node 20. */
function join(flight: Flight, signal: AbortSignal): Promise<VerifiedFrame> {
  if (signal.aborted) return Promise.reject(canceled(signal));
  flight.waiting++;
  setMaxListeners(0, signal); // a mount's one signal is that of all its reads
  return new Promise((resolve, reject) => {
    const giveUp = () => {
      flight.waiting--;
      if (flight.waiting === 0 && flight.flying) flight.abort.abort(signal.reason);
      reject(canceled(signal));
    };
    signal.addEventListener('abort', giveUp, { once: true });
    flight.frame.finally(() => signal.removeEventListener('abort', giveUp)).then(resolve, reject);
  });
}

function canceled(signal: AbortSignal): ThinError {
  return new ThinError('canceled', 'Cannot read file: the reader gave up', {
    cause: signal.reason,
  });
}
