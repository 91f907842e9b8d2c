import type { Chunk, Frame } from '../chunk/frame.js';
import type { Digest } from '../digest.js';
import { isThinError } from '../errors.js';
import type { CacheParts } from './cache-parts.js';
import type { FileOrigin } from './file-origin.js';
import { type FetchPlan, fetchPlan, nextRun, sum } from './frame-plan.js';
import type { ChunkedFile } from './partial-file.js';
import { endOf, indexesOf, type PrefetchRange } from './prefetch-range.js';
import { WorkAhead } from './work-ahead.js';

/** Requests under way at a time, however small they are. */
const runsInFlightMax = 16;
/** Frames that are known to be wanted before they are asked for: among them, neighbours are found. */
const plannedMax = 256;
/** Plain bytes that have come and are not on the disk yet, or are about to come. */
const landingBytesMax = 24 * 1024 * 1024;
/** Chunks that are copied at a time; their bytes are in memory. */
const copiedChunks = 64;
/**
 * Ranges that are looked for ahead of their turn, where each may be a round trip, and bytes of them
 * all. What nodes share has 16 threads, and is left alone when it is late: on a slow way to it many at
 * once would all be, and reads that somebody waits for have to find a thread.
 */
const lookAheadBytesMax = 1024 * 1024;
const looksAhead = { countMax: 12, weightMax: lookAheadBytesMax };
/** Ranges that wait: a program that opens more files than that is helped no more. */
const rangesMax = 65_536;

/** What a prefetch has done. */
export interface PrefetchTotals {
  /** Frames that were fetched, and their compressed bytes. */
  readonly frames: number;
  readonly bytes: number;
  /** Plain bytes of them. */
  readonly plainBytes: number;
  /** Requests that it took. */
  readonly requests: number;
  /** Plain bytes of chunks that another file here had. */
  readonly copiedBytes: number;
  /** Plain bytes of what was here already. */
  readonly hereBytes: number;
  /** Fetches that failed: whoever reads them is told why. */
  readonly failures: number;
}

/** Chunks of a file that are not here, and those of them that were found near by. */
interface Look {
  readonly missing: readonly number[];
  readonly copied: ReadonlySet<number>;
  readonly foundAt: number;
}

export interface PrefetchOptions {
  readonly origin: FileOrigin;
  readonly signal: AbortSignal;
}

/**
 * Brings what will be read soon, in the order in which it is told, ahead of those who read it and
 * behind those who wait. A read that overtakes it joins the fetch that is under way, or does it itself.
 * As much is asked for at a time as the line holds (frame-plan.ts): more would make the first wait.
 */
export class RangePrefetch {
  readonly #parts: CacheParts;
  readonly #options: PrefetchOptions;
  /** Ends when all that was added has had its turn. */
  #tail: Promise<void> = Promise.resolve();
  #waiting = 0;
  /** What nodes share is far from the program that asks for it: several ranges come at a time. */
  readonly #looks = new WorkAhead<PrefetchRange, Look | 'here' | undefined>(
    { ...looksAhead, weightOf: (range) => this.#parts.copies.weightOf(range) },
    (range) => this.#lookFor(range),
  );
  /** Frames that were asked for, or will be, by name; when they were found missing. */
  readonly #asked = new Map<string, number>();
  /** Those that will be, in the order in which they are wanted. */
  #planned: Frame[] = [];
  readonly #flying = new Set<Promise<void>>();
  /** Files that were not here whole when they were looked for: they are known by their chunks. */
  readonly #absent = new Set<Digest>();
  /** Compressed bytes that were asked for and have not come. */
  #outstanding = 0;
  /** Plain bytes that were asked for and are not on the disk. */
  #landing = 0;
  /** Wakes who waits for one of the two to become less. */
  #wake: () => void = () => {};
  #less: Promise<void> = new Promise((resolve) => {
    this.#wake = resolve;
  });
  readonly #totals = {
    ...{ frames: 0, bytes: 0, plainBytes: 0, requests: 0 },
    ...{ copiedBytes: 0, hereBytes: 0, failures: 0 },
  };
  #full: boolean = false;

  constructor(parts: CacheParts, options: PrefetchOptions) {
    this.#parts = parts;
    this.#options = options;
  }

  /** Returns at once. Ranges of files that the origin does not know are passed over. */
  add(range: PrefetchRange): void {
    if (this.#ended || this.#waiting >= rangesMax) return;
    this.#waiting += 1;
    if (this.#parts.shared?.here && range.length <= lookAheadBytesMax) this.#looks.add(range);
    this.#tail = this.#tail.then(() => this.#take(range));
  }

  /** Ends when all that was added is here, or failed, or the signal was aborted. Never fails. */
  async settled(): Promise<PrefetchTotals> {
    let tail: Promise<void>;
    do {
      tail = this.#tail;
      await tail;
      await Promise.all(this.#flying);
    } while (tail !== this.#tail || this.#flying.size > 0);
    await this.#looks.settled(); // of ranges that had no turn any more
    return { ...this.#totals };
  }

  get #ended(): boolean {
    return this.#full || this.#options.signal.aborted;
  }

  /** Undefined where that is for its turn. */
  async #lookFor(range: PrefetchRange): Promise<Look | 'here' | undefined> {
    const { partials, copies } = this.#parts;
    if (this.#ended) return undefined;
    if (await this.#has(range.content)) return 'here';
    const chunked = partials.describe(range, this.#options.origin);
    if (!chunked) return undefined;
    if (await copies.bring(chunked, this.#options.signal)) {
      this.#absent.delete(range.content);
      return 'here';
    }
    const indexes = indexesOf(chunked, range);
    return indexes.length > copiedChunks ? undefined : await this.#look(chunked, indexes);
  }

  async #take(range: PrefetchRange): Promise<void> {
    this.#waiting -= 1;
    if (!this.#ended) await this.#plan(range).catch(() => this.#failed());
    // Neighbours of a frame may be told yet.
    if (this.#waiting === 0) await this.#askForAll();
    else this.#askForSome();
  }

  /** Finds out which frames are to be fetched for a range. */
  async #plan(range: PrefetchRange): Promise<void> {
    const { partials } = this.#parts;
    const looked = await this.#looks.take(range);
    const chunked = partials.describe(range, this.#options.origin);
    const all = chunked ? indexesOf(chunked, range) : [];
    // What comes beside something that was asked for is not looked for: each look is a call or two.
    if (chunked && all.every((index) => this.#isAsked(chunked.table.chunk(index)))) return;
    if (looked === 'here' || (!looked && (await this.#has(range.content)))) {
      this.#totals.hereBytes += Math.max(endOf(range) - range.offset, 0);
      return;
    }
    if (chunked === undefined) return;
    for (let at = 0; at < all.length; at += copiedChunks) {
      const indexes = all.slice(at, at + copiedChunks);
      await this.#planChunks(chunked, indexes, looked ?? (await this.#look(chunked, indexes)));
      if (this.#ended) return;
    }
  }

  async #look(chunked: ChunkedFile, indexes: readonly number[]): Promise<Look> {
    const { table } = chunked;
    const foundAt = performance.now();
    const missing = await this.#missing(chunked, indexes);
    const unasked = missing.filter((index) => !this.#isAsked(table.chunk(index)));
    const copies = await this.#parts.copier.copy(chunked, unasked);
    return { missing, copied: new Set(copies.keys()), foundAt };
  }

  async #planChunks({ table }: ChunkedFile, indexes: readonly number[], look: Look): Promise<void> {
    const { missing, copied, foundAt } = look;
    for (const index of indexes) {
      const chunk = table.chunk(index);
      const frame = this.#frameOf(chunk);
      if (!missing.includes(index)) this.#totals.hereBytes += chunk.length;
      else if (copied.has(index)) this.#totals.copiedBytes += chunk.length;
      else if (!this.#asked.has(nameOf(frame))) {
        while (this.#planned.length >= plannedMax) await this.#askForOne();
        if (this.#ended) return;
        this.#asked.set(nameOf(frame), foundAt);
        this.#planned.push(frame);
      }
    }
  }

  #isAsked(chunk: Chunk): boolean {
    return this.#asked.has(nameOf(this.#frameOf(chunk)));
  }

  #frameOf(chunk: Chunk): Frame {
    return (this.#options.origin.nearer?.(chunk) ?? chunk).frame;
  }

  /** Of a file that has become whole meanwhile, all frames were asked for. */
  async #has(content: Digest): Promise<boolean> {
    if (this.#absent.has(content)) return false;
    const isHere = await this.#parts.files.has(content);
    if (!isHere) this.#absent.add(content);
    return isHere;
  }

  /** Those of the chunks that are not here. */
  async #missing(chunked: ChunkedFile, indexes: readonly number[]): Promise<number[]> {
    if (chunked.table.chunks.length === 1) {
      return (await this.#has(chunked.file.content)) ? [] : [...indexes];
    }
    const partial = await this.#parts.partials.find(chunked).catch(() => undefined);
    return indexes.filter((index) => partial?.has(index) !== true);
  }

  async #askForAll(): Promise<void> {
    while (this.#planned.length > 0 && !this.#ended) await this.#askForOne();
  }

  /** As far as the line has room, if there is enough for whole requests. */
  #askForSome(): void {
    const plan = this.#fetchPlan();
    while (!this.#ended && this.#hasRoom(plan)) {
      const { run, rest } = this.#next(plan);
      // The last of those that are planned may be continued by what is told next.
      if (rest.length === 0) return;
      this.#planned = [...rest];
      this.#ask(run);
    }
  }

  /** One request, as soon as the line has room. */
  async #askForOne(): Promise<void> {
    while (!this.#ended && !this.#hasRoom(this.#fetchPlan())) await this.#less;
    if (this.#ended) return;
    const { run, rest } = this.#next(this.#fetchPlan());
    this.#planned = [...rest];
    if (run.length > 0) this.#ask(run);
  }

  /** Somebody who read one of those that are planned may have been faster. */
  #next(plan: FetchPlan): ReturnType<typeof nextRun> {
    const { flights } = this.#parts;
    const { origin } = this.#options;
    const unknown = this.#planned.filter(
      (frame) => !flights.isKnown(origin, frame, this.#asked.get(nameOf(frame)) ?? 0),
    );
    return nextRun(unknown, plan);
  }

  #fetchPlan(): FetchPlan {
    const unknown = { roundTripMs: undefined, bytesPerSecond: undefined };
    return fetchPlan(this.#options.origin.link?.() ?? unknown);
  }

  #hasRoom({ outstandingBytes }: FetchPlan): boolean {
    if (this.#flying.size === 0) return true;
    const room = this.#outstanding < outstandingBytes && this.#landing < landingBytesMax;
    return room && this.#flying.size < runsInFlightMax;
  }

  #ask(run: readonly Frame[]): void {
    const flight = this.#land(run).finally(() => {
      this.#flying.delete(flight);
      this.#madeRoom();
    });
    this.#flying.add(flight);
  }

  #madeRoom(): void {
    this.#wake();
    this.#less = new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  async #land(run: readonly Frame[]): Promise<void> {
    const { flights, ledger } = this.#parts;
    const { origin, signal } = this.#options;
    const coming = new Map(run.map((frame) => [frame.offset, frame]));
    const [bytes, plain] = [sum(run, 'length'), sum(run, 'plainLength')];
    this.#outstanding += bytes;
    this.#landing += plain;
    try {
      if (!(await ledger.hasRoom(plain))) {
        this.#full = true;
        return;
      }
      this.#totals.requests += 1;
      await flights.prefetchRun(origin, run, signal, {
        onArrival: ({ offset, length }) => {
          if (coming.delete(offset)) this.#outstanding -= length;
          this.#madeRoom();
        },
        onLanded: (frame, error) => this.#landed(frame, error),
      });
    } catch (error) {
      if (!isThinError(error, 'canceled')) this.#failed();
    } finally {
      for (const { length } of coming.values()) this.#outstanding -= length;
      this.#landing -= plain;
    }
  }

  #landed(frame: Frame, error: unknown): void {
    if (error === undefined) {
      this.#arrived(frame);
    } else if (isThinError(error, 'unavailable')) {
      const again = this.#again(frame).finally(() => {
        this.#flying.delete(again);
        this.#madeRoom();
      });
      this.#flying.add(again);
    } else if (!isThinError(error, 'canceled')) {
      // It is not asked for again here, but by who reads it: from its other place, if this is wrong.
      if (isThinError(error, 'corrupt', 'not-found')) this.#options.origin.forsake?.(frame);
      this.#failed();
    }
  }

  /** A request is not repeated; what it did not bring is fetched by itself, from wherever it can be had. */
  async #again(frame: Frame): Promise<void> {
    const { origin, signal } = this.#options;
    try {
      this.#totals.requests += 1;
      await this.#parts.flights.prefetch(origin, frame, signal);
      this.#arrived(frame);
    } catch (error) {
      if (!isThinError(error, 'canceled')) this.#failed();
    }
  }

  #arrived({ length, plainLength }: Frame): void {
    this.#totals.frames += 1;
    this.#totals.bytes += length;
    this.#totals.plainBytes += plainLength;
  }

  #failed(): void {
    this.#totals.failures += 1;
  }
}

function nameOf(frame: Frame): string {
  return `${frame.pack} ${frame.offset}`;
}
