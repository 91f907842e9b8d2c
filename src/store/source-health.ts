import { type ErrorCode, isThinError, type ThinError } from '../errors.js';
import { type Clock, systemClock } from './clock.js';
import { FetchSlots } from './fetch-slots.js';
import { LinkMeter } from './link-meter.js';
import { type Backoff, backoffDelay } from './retry.js';
import type { Store } from './store.js';

/** Failures in a row after which a source is down: fewer are the network's everyday. */
const downAfter = 4;
/** Of a source that is down: how soon it is seen that it is back. */
const probing: Backoff = { delayMs: 50, delayMaxMs: 1000, retryAfterMaxMs: 60_000 };
/** Milliseconds after which a probe that hangs does not keep others from trying. */
const probeHangsMs = 2000;
/** Of a new measurement in the averages. */
const weight = 0.2;
/** Of the smallest round trip with each measurement: routes change. */
const minGrowth = 1.01;

/** What is known of a source, for people. Times are milliseconds since 1970. */
export interface SourceReport {
  readonly source: string;
  /** `down`: it has failed several times in a row, and is asked now and then whether it is back. */
  readonly state: 'unused' | 'up' | 'down';
  readonly lastSuccess?: number;
  readonly lastFailure?: {
    readonly at: number;
    readonly code: ErrorCode;
    readonly message: string;
  };
  readonly failuresInARow: number;
  /** Not asked before. */
  readonly pausedUntil?: number;
  /** Milliseconds from a request to the first byte of its answer, averaged. */
  readonly roundTripMs?: number;
  /** Bytes a second of one request, averaged. */
  readonly bytesPerSecond?: number;
  readonly inFlight: number;
  readonly queued: number;
  /** Since the start, of whatever image: what was asked, failed, and came, compressed. */
  readonly requests: number;
  readonly failures: number;
  readonly bytes: number;
}

/** Told when a source goes down, with why, and when it is back. */
export type OnTurn = (source: string, why: ThinError | undefined) => void;

/**
 * How one host has answered, whoever asked: all images and their reads share it, so that the success
 * of any request ends the waiting of all.
 */
export class SourceHealth {
  readonly slots = new FetchSlots();
  readonly #link: LinkMeter;
  readonly #name: string;
  readonly #clock: Clock;
  readonly #onTurn: OnTurn;
  readonly #listeners = new Set<() => void>();
  #lastSuccess: number | undefined;
  #lastFailure: { at: number; error: ThinError } | undefined;
  #failuresInARow = 0;
  #requests = 0;
  #failures = 0;
  #bytes = 0;
  /** On the clock. */
  #pausedUntil = Number.NEGATIVE_INFINITY;
  #probedAt = Number.NEGATIVE_INFINITY;
  #roundTripMs: number | undefined;
  #roundTripMinMs: number | undefined;
  #bytesPerSecond: number | undefined;

  /** @param name of the host, for people, without secrets */
  constructor(name: string, clock: Clock = systemClock, onTurn: OnTurn = () => {}) {
    this.#name = name;
    this.#clock = clock;
    this.#onTurn = onTurn;
    this.#link = new LinkMeter(clock);
  }

  /** Passes the bytes of an answer through, and counts them as they come. */
  async *metered(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void> {
    for await (const bytes of source) {
      this.#link.received(bytes.length);
      yield bytes;
    }
  }

  /** Bytes a second of all requests together; undefined while not measured. */
  get linkBytesPerSecond(): number | undefined {
    return this.#link.bytesPerSecond;
  }

  get down(): boolean {
    return this.#failuresInARow >= downAfter;
  }

  get lastError(): ThinError | undefined {
    return this.#lastFailure?.error;
  }

  get roundTripMs(): number | undefined {
    return this.#roundTripMs;
  }

  /** Of a line with nothing in the way: the average counts also what waits behind our own bytes. */
  get roundTripMinMs(): number | undefined {
    return this.#roundTripMinMs;
  }

  /** Whether a request may be made now. Of a source that is down, one at a time is let through. */
  admit(): boolean {
    if (!this.down) return true;
    const now = this.#clock.now();
    if (now < this.#pausedUntil || now < this.#probedAt + probeHangsMs) return false;
    this.#probedAt = now;
    return true;
  }

  /** It has answered, perhaps that it has not got what was asked for. All that wait try again. */
  answered(): void {
    this.#requests += 1;
    this.#lastSuccess = Date.now();
    this.wake();
  }

  /** There is reason to believe that it answers now: all that wait try again. */
  wake(): void {
    if (this.down) this.#onTurn(this.#name, undefined);
    this.#failuresInARow = 0;
    this.#probedAt = Number.NEGATIVE_INFINITY;
    for (const listener of this.#listeners) listener();
  }

  failed(error: ThinError): void {
    this.#requests += 1;
    this.#failures += 1;
    this.#lastFailure = { at: Date.now(), error };
    this.#probedAt = Number.NEGATIVE_INFINITY;
    // What it refuses to one image, or has wrong, it may have for others.
    if (error.code !== 'unavailable') return;
    this.#failuresInARow += 1;
    if (this.#failuresInARow === downAfter) this.#onTurn(this.#name, error);
    const delay = backoffDelay(probing, this.#failuresInARow - downAfter, error);
    if (this.down) this.#pausedUntil = this.#clock.now() + delay;
  }

  /** The request was given up by us: nothing is known. */
  abandoned(): void {
    this.#probedAt = Number.NEGATIVE_INFINITY;
  }

  measured(firstByteMs: number, totalMs: number, bytes: number): void {
    this.#bytes += bytes;
    this.#roundTripMs = averaged(this.#roundTripMs, firstByteMs);
    this.#roundTripMinMs = Math.min(firstByteMs, (this.#roundTripMinMs ?? firstByteMs) * minGrowth);
    this.#bytesPerSecond = averaged(this.#bytesPerSecond, (1000 * bytes) / Math.max(totalMs, 0.1));
  }

  /** Calls `listener` whenever the source answers, until the function that it returns is called. */
  onAnswer(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  report(): SourceReport {
    const failure = this.#lastFailure;
    const pausedMs = this.down ? this.#pausedUntil - this.#clock.now() : 0;
    const used = this.#lastSuccess !== undefined || failure !== undefined;
    return {
      source: this.#name,
      state: this.down ? 'down' : used ? 'up' : 'unused',
      failuresInARow: this.#failuresInARow,
      inFlight: this.slots.inFlight,
      queued: this.slots.queued,
      requests: this.#requests,
      failures: this.#failures,
      bytes: this.#bytes,
      ...(this.#lastSuccess !== undefined && { lastSuccess: this.#lastSuccess }),
      ...(failure && {
        lastFailure: { at: failure.at, code: failure.error.code, message: failure.error.message },
      }),
      ...(pausedMs > 0 && { pausedUntil: Date.now() + pausedMs }),
      ...(this.#roundTripMs !== undefined && { roundTripMs: this.#roundTripMs }),
      ...(this.#bytesPerSecond !== undefined && { bytesPerSecond: this.#bytesPerSecond }),
    };
  }
}

/** A store that shares what is known of its host with the other stores there. */
export interface HealthyStore extends Store {
  readonly health: SourceHealth;
}

/** The health that a store brings, else one of its own. */
export function healthOf(store: Store, clock: Clock): SourceHealth {
  if ('health' in store && store.health instanceof SourceHealth) return store.health;
  return new SourceHealth(store.toString(), clock);
}

/** Tells what a request to a host has brought. @returns what `request` does */
export async function watched<T>(
  health: SourceHealth,
  signal: AbortSignal,
  request: () => Promise<T>,
): Promise<T> {
  try {
    const result = await request();
    health.answered();
    return result;
  } catch (error) {
    if (signal.aborted || !isThinError(error)) health.abandoned();
    else if (error.code === 'not-found') health.answered();
    else health.failed(error);
    throw error;
  }
}

function averaged(before: number | undefined, now: number): number {
  return before === undefined ? now : before + weight * (now - before);
}
