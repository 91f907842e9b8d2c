import type { Frame } from '../chunk/frame.js';
import { type ErrorCode, isThinError, ThinError } from '../errors.js';
import type { Clock } from './clock.js';
import type { FrameFetchOptions, FrameSource } from './frame-source.js';
import { askedDelay } from './retry.js';

/** Attempts for one frame at a time: the first, and one more whenever the last one stalls. */
const attemptsInFlightMax = 3;

export interface Candidate {
  readonly frames: FrameSource;
  /** When it failed or stalled last, on the clock; -Infinity if it did well since. */
  failedAt: number;
}

/**
 * Attempts that are made at once when one fails that was made besides a stalled one: the next stall
 * is noticed only after another second.
 */
const substitutesMax = 3;

interface Entry {
  readonly candidate: Candidate;
  readonly fresh: boolean;
}

interface Arrival {
  readonly plain: Buffer;
  readonly by: Candidate;
}

/** Errors that are the fault of the source, and not of what was asked for. */
const faults: readonly ErrorCode[] = ['unavailable', 'denied', 'corrupt'];

/**
 * One round for one frame over all sources: the next one is asked when one fails, and besides it when
 * one stalls; the last one is asked anew then, over another connection. The first bytes win, and the
 * other attempts are given up.
 */
export class FrameRace {
  readonly #frame: Frame;
  readonly #clock: Clock;
  readonly #queue: Entry[];
  readonly #errors: ThinError[] = [];
  readonly #over = new AbortController();
  readonly #end: Promise<Arrival>;
  #win: (arrival: Arrival) => void = () => {};
  #lose: (error: unknown) => void = () => {};
  #inFlight = 0;
  #stalls = 0;
  #substitutes = 0;
  #options: FrameFetchOptions = {};

  /** @param candidates in the order in which they are asked */
  constructor(frame: Frame, candidates: readonly Candidate[], clock: Clock) {
    this.#frame = frame;
    this.#clock = clock;
    this.#queue = candidates.map((candidate) => ({ candidate, fresh: false }));
    this.#end = new Promise((resolve, reject) => {
      this.#win = resolve;
      this.#lose = reject;
    });
  }

  /** @throws ThinError of all failures the one that says best what to do; `canceled` on `signal` */
  async run(signal: AbortSignal, options: FrameFetchOptions): Promise<Arrival> {
    this.#options = options;
    const giveUp = () => this.#over.abort(signal.reason);
    if (signal.aborted) giveUp();
    signal.addEventListener('abort', giveUp, { once: true });
    try {
      this.#next();
      return await this.#end;
    } finally {
      signal.removeEventListener('abort', giveUp);
      this.#over.abort(new ThinError('canceled', 'Another attempt has brought the frame'));
    }
  }

  #next(): void {
    const entry = this.#queue.shift();
    if (entry) void this.#attempt(entry);
    else if (this.#inFlight === 0) this.#lose(worthiest(this.#errors, this.#frame));
  }

  async #attempt(entry: Entry): Promise<void> {
    const { candidate } = entry;
    const fresh = entry.fresh || (this.#options.fresh ?? false) || this.#errors.some(isCorrupt);
    this.#inFlight += 1;
    try {
      const plain = await candidate.frames.fetchFrame(
        this.#frame,
        this.#over.signal,
        this.#optionsOf(entry, fresh),
      );
      candidate.failedAt = Number.NEGATIVE_INFINITY;
      this.#win({ plain, by: candidate });
    } catch (error) {
      this.#inFlight -= 1;
      if (!isThinError(error) || this.#over.signal.aborted) return this.#lose(error);
      this.#errors.push(error);
      if (faults.includes(error.code)) candidate.failedAt = this.#clock.now();
      if (isCorrupt(error) && !fresh) this.#queue.push({ candidate, fresh: true });
      else if (this.#mayReplace(error)) this.#queue.push(entry);
      this.#next();
    }
  }

  /** Whether to try again what failed while all that is under way has stalled. */
  #mayReplace({ code }: ThinError): boolean {
    if (code !== 'unavailable' || this.#inFlight === 0 || this.#stalls === 0) return false;
    this.#substitutes += 1;
    return this.#queue.length === 0 && this.#substitutes <= substitutesMax;
  }

  /** Keeps `background` live: it may change while the fetch waits. */
  #optionsOf(entry: Entry, fresh: boolean): FrameFetchOptions {
    const outer = this.#options;
    return {
      fresh,
      onStall: (where) => {
        outer.onStall?.(where);
        this.#stalled(entry, where);
      },
      onWire: outer.onWire,
      get background() {
        return outer.background;
      },
    };
  }

  #stalled({ candidate, fresh }: Entry, where: 'queued' | 'asked'): void {
    if (this.#over.signal.aborted || this.#inFlight >= attemptsInFlightMax) return;
    this.#stalls += 1;
    if (where === 'asked') candidate.failedAt = this.#clock.now();
    // Who waits for its turn with the only source gets it no sooner by waiting twice.
    if (this.#queue.length === 0 && where === 'asked') this.#queue.push({ candidate, fresh });
    if (this.#queue.length > 0) this.#next();
  }
}

function isCorrupt(error: ThinError): boolean {
  return error.code === 'corrupt';
}

/** Of the errors of all sources, the one that says best what to do: most of all, to wait. */
const worth: readonly ErrorCode[] = ['unavailable', 'corrupt', 'denied', 'not-found'];

/** Of several sources that are to be waited for, the one that may be asked again first. */
function worthiest(errors: readonly ThinError[], frame: Frame): ThinError {
  for (const code of worth) {
    const [first] = errors
      .filter((error) => error.code === code)
      .sort((a, b) => askedDelay(a) - askedDelay(b));
    if (first) return first;
  }
  const what = `Cannot fetch frame at ${frame.offset} of ${frame.pack}: there is no source for it`;
  return errors[0] ?? new ThinError('not-found', what);
}
