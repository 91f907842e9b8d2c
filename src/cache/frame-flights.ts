import { setMaxListeners } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import type { Frame } from '../chunk/frame.js';
import { isThinError, ThinError } from '../errors.js';
import type { FileOrigin, Placement } from './file-origin.js';
import { FrameRun } from './frame-run.js';
import { type StoreFrame, VerifiedFrame } from './verified-frame.js';

/** Times that a frame is fetched when what arrives is wrong: the second may come from elsewhere. */
const attemptsMax = 2;
/** Bytes of decoded frames remembered: what keeps reads going while the disk takes nothing. */
const rememberedBytesMax = 32 * 1024 * 1024;
/** The same while it is learned what is read: most of what a start brings. */
const learnedBytesMax = 192 * 1024 * 1024;
/** Frames of which it is known when they came: more than are waited for at a time. */
const cameMax = 8192;

/** A fetch that several reads wait for; it is given up when the last of them gives up. */
interface Flight {
  readonly frame: Promise<VerifiedFrame>;
  /** Ends, and never fails, when what it brought was offered to the disk. True: all of it is there. */
  landing: Promise<boolean>;
  readonly abort: AbortController;
  /** Looked at by the fetch: `background` until somebody waits for the frame. */
  readonly importance: { background: boolean };
  /** False once the frame has arrived: then there is nothing left to abort. */
  flying: boolean;
  waiting: number;
  /** What the waiting reads want of it, by place. */
  readonly wanted: Map<string, Placement>;
}

export interface RunEvents {
  /** Its bytes have come, or will not: the line is free of them. May be told twice. */
  readonly onArrival: (frame: Frame) => void;
  /** It was offered to the disk, or why it has not come. */
  readonly onLanded: (frame: Frame, error: unknown) => void;
}

/**
 * Frames on their way from the origin, or just arrived: each is fetched, verified and stored once,
 * however many reads want something of it.
 */
export class FrameFlights {
  readonly #flights = new Map<string, Flight>();
  /** Those of all flights. */
  readonly #landings = new Set<Promise<boolean>>();
  readonly #remembered = new LRUCache<string, VerifiedFrame>({
    maxSize: rememberedBytesMax,
    sizeCalculation: (frame) => frame.bytes.length + 1,
  });
  /** Of origins that are learned from: frames of which only what was read is on the disk. */
  readonly #learned = new LRUCache<string, { frame: VerifiedFrame; origin: FileOrigin }>({
    maxSize: learnedBytesMax,
    sizeCalculation: ({ frame }) => frame.bytes.length + 1,
  });
  /** When frames were stored, by name, on the clock of `performance.now()`. */
  readonly #came = new LRUCache<string, number>({ max: cameMax });
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
   * The bytes of one chunk, verified; it is kept at its place in the file too.
   * @throws ThinError `corrupt` if the origin has other bytes; whatever the origin throws
   */
  async chunk(origin: FileOrigin, placement: Placement, signal: AbortSignal): Promise<Buffer> {
    if (signal.aborted) throw canceled(signal);
    const nearer = origin.nearer?.(placement.chunk);
    if (nearer !== undefined) {
      try {
        return await this.#chunk(origin, { ...placement, chunk: nearer }, signal);
      } catch (error) {
        if (!isThinError(error, 'corrupt', 'not-found')) throw error;
        origin.forsake?.(nearer.frame);
      }
    }
    return this.#chunk(origin, placement, signal);
  }

  async #chunk(origin: FileOrigin, placement: Placement, signal: AbortSignal): Promise<Buffer> {
    const { chunk } = placement;
    const frame = await this.#frame(origin, placement, signal);
    const bytes = frame.chunk(chunk);
    if (bytes !== undefined) return bytes;
    throw otherBytes(`chunk ${chunk.digest}`, chunk.frame);
  }

  /**
   * Brings a frame that nobody waits for, and keeps what it is good for.
   * @returns whether all of that is on the disk now
   * @throws ThinError `corrupt` if the origin has other bytes; whatever the origin throws
   */
  async prefetch(origin: FileOrigin, frame: Frame, signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) throw canceled(signal);
    const flight = this.#flight(origin, frame, true);
    const { sound } = await join(flight, signal);
    if (!sound) throw otherBytes('frame', frame);
    return flight.landing;
  }

  /**
   * The same for frames of one pack, by one request. Who reads one of them meanwhile waits for this
   * request; if it fails, each that somebody waits for is fetched by itself.
   * Never fails: each frame is told by itself.
   * @param frames ascending; those that are under way already are left to whoever has begun, and those
   *   that are in memory are not asked for
   */
  async prefetchRun(
    origin: FileOrigin,
    frames: readonly Frame[],
    signal: AbortSignal,
    events: RunEvents,
  ): Promise<void> {
    const fresh = frames.filter((frame) => {
      const key = keyOf(origin, frame);
      return !this.#flights.has(key) && this.#inMemory(key) === undefined;
    });
    const run =
      origin.fetchRun && fresh.length > 0 ? new FrameRun(origin, fresh, signal) : undefined;
    const landings = frames.map(async (frame) => {
      try {
        if (signal.aborted) throw canceled(signal);
        const flight = this.#flight(origin, frame, true, run);
        const { sound } = await join(flight, signal).finally(() => events.onArrival(frame));
        if (!sound) throw otherBytes('frame', frame);
        await flight.landing;
        events.onLanded(frame, undefined);
      } catch (error) {
        events.onLanded(frame, error);
      }
    });
    const isUrgent = () => fresh.some((frame) => this.#urgent(origin, frame));
    await run?.fetch(isUrgent, events.onArrival);
    await Promise.all(landings);
  }

  /** True if the frame is on its way, or has come since: there is no need to ask for it. */
  isKnown(origin: FileOrigin, frame: Frame, since: number): boolean {
    const key = keyOf(origin, frame);
    return this.#flights.has(key) || (this.#came.get(key) ?? 0) > since;
  }

  #urgent(origin: FileOrigin, frame: Frame): boolean {
    return this.#flights.get(keyOf(origin, frame))?.importance.background === false;
  }

  /** Waits while frames are on their way that somebody waits for, but not longer than `ms`. */
  async quiet(ms: number): Promise<void> {
    const flights = [...this.#flights.values()];
    const urgent = flights.filter(({ flying, importance }) => flying && !importance.background);
    if (urgent.length === 0) return;
    const over = new AbortController();
    const arrived = Promise.allSettled(urgent.map(({ frame }) => frame));
    const late = wait(ms, undefined, { signal: over.signal }).catch(() => undefined);
    await Promise.race([arrived, late]);
    over.abort();
  }

  #frame(origin: FileOrigin, placement: Placement, signal: AbortSignal): Promise<VerifiedFrame> {
    const { content, offsetInFile, chunk } = placement;
    const flight = this.#flight(origin, chunk.frame, origin.background === true);
    flight.wanted.set(`${content} ${offsetInFile}`, placement);
    return join(flight, signal);
  }

  /** The flight of a frame, which begins now if it is not under way. */
  #flight(origin: FileOrigin, frame: Frame, background: boolean, run?: FrameRun): Flight {
    const key = keyOf(origin, frame);
    const flight = this.#flights.get(key);
    if (flight === undefined || flight.abort.signal.aborted) {
      return this.#start(key, origin, frame, background, run);
    }
    if (!background) flight.importance.background = false;
    return flight;
  }

  /** What is remembered has no way to go, but is offered to the disk once more. */
  #start(
    key: string,
    origin: FileOrigin,
    frame: Frame,
    background: boolean,
    run: FrameRun | undefined,
  ): Flight {
    const abort = new AbortController();
    const importance = { background };
    const remembered = this.#inMemory(key);
    const flight: Flight = {
      frame: remembered
        ? Promise.resolve(remembered)
        : this.#fetch(origin, frame, abort.signal, importance, run?.frame(frame)),
      landing: Promise.resolve(false),
      abort,
      importance,
      flying: true,
      waiting: 0,
      wanted: new Map(),
    };
    this.#flights.set(key, flight);
    const landing = this.#land(key, origin, flight).finally(() => this.#landings.delete(landing));
    this.#landings.add(landing);
    flight.landing = landing;
    return flight;
  }

  #inMemory(key: string): VerifiedFrame | undefined {
    return this.#remembered.get(key) ?? this.#learned.get(key)?.frame;
  }

  async #land(key: string, origin: FileOrigin, flight: Flight): Promise<boolean> {
    try {
      const frame = await flight.frame;
      flight.flying = false;
      // A later read fetches a frame anew that had something wrong in it.
      if (!frame.sound) this.#forget(key, flight);
      const stored = await this.#store(origin, frame, [...flight.wanted.values()]);
      if (!frame.sound) return stored;
      const learning = origin.isLearning?.() === true;
      if (stored || learning) this.#came.set(key, performance.now());
      if (learning) this.#learned.set(key, { frame, origin });
      else if (stored) this.#remembered.delete(key);
      else this.#remembered.set(key, frame);
      return stored;
    } catch {
      return false; // told to those who wait for the frame
    } finally {
      this.#forget(key, flight);
    }
  }

  /** Another may have taken its place already. */
  #forget(key: string, flight: Flight): void {
    if (this.#flights.get(key) === flight) this.#flights.delete(key);
  }

  async #fetch(
    origin: FileOrigin,
    frame: Frame,
    signal: AbortSignal,
    importance: { readonly background: boolean },
    coming?: Promise<Buffer>,
  ): Promise<VerifiedFrame> {
    const placements = origin.placementsIn(frame);
    const inRun = await coming?.catch((error: unknown) => {
      // Who waits for it is not told: it is fetched by itself.
      if (importance.background) throw error;
    });
    for (let attempt = 1; ; attempt++) {
      const options = {
        fresh: attempt > 1,
        get background() {
          return importance.background;
        },
      };
      const plain =
        (attempt === 1 ? inRun : undefined) ?? (await origin.fetchFrame(frame, signal, options));
      const verified = new VerifiedFrame(plain, placements);
      if (verified.sound) return verified;
      this.#wrong++;
      if (attempt === attemptsMax) return verified;
    }
  }

  /** Nobody learns from this origin any more: what came beside what was read goes to the disk. */
  async keepLearned(origin: FileOrigin): Promise<void> {
    for (const [key, learned] of [...this.#learned.entries()]) {
      if (learned.origin.id !== origin.id) continue;
      this.#learned.delete(key);
      await this.#store(origin, learned.frame, []);
    }
  }

  /** Ends when what has arrived is stored. */
  async settled(): Promise<void> {
    while (this.#landings.size > 0) await Promise.all(this.#landings);
  }

  abortAll(reason: Error): void {
    for (const flight of this.#flights.values()) if (flight.flying) flight.abort.abort(reason);
  }
}

function keyOf(origin: FileOrigin, { pack, offset }: Frame): string {
  return `${origin.id} ${pack} ${offset}`;
}

/** Waits for a flight; `AbortSignal.any` is not used, as it leaks on long-lived signals in Node 20. */
function join(flight: Flight, signal: AbortSignal): Promise<VerifiedFrame> {
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

function otherBytes(what: string, { pack, offset, length }: Frame): ThinError {
  return new ThinError(
    'corrupt',
    `Cannot read ${what}: bytes ${offset} to ${offset + length} of pack ${pack} hold something else`,
  );
}

function canceled(signal: AbortSignal): ThinError {
  return new ThinError('canceled', 'Cannot read file: the reader gave up', {
    cause: signal.reason,
  });
}
